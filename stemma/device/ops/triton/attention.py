"""Paged attention: one kernel for decodes, drafts to verify and chunks of prompts, in any mixture.

A tile is a few queries of one row, each with its group of heads: M rows of a matrix product. Its keys are read in
blocks; blocks make splits, at fixed absolute positions. Within a split blocks are added in ascending order, and splits
are folded in ascending order, each begun anew: so it does not matter which program computes a split. A program looks
at a run of splits, of one tile after the other. What it sees of a tile that it shares with others it leaves in memory,
and who comes last folds it all; nobody waits.

Steps have tiles of one or of two warp groups. Each group has 64 rows and multiplies by the same instructions, and the
numbers of a row stay within one warp: so the same arithmetic computes a query whatever stands beside it, and whether it
comes alone or in a chunk. Scores and sums are float32; probabilities are rounded to the type of the queries.

Shapes: T tokens of the step, N query heads, K key heads, H width of a head, P slots, M rows of a tile (queries x
group), B keys of a block, R rows that sit, X programs, W tiles, S states (of a query head, in a split).
"""

import triton
import triton.language as tl

from stemma.device.ops.triton.launch import follow

LOWEST = tl.constexpr(-3.0e38)  # stands for the maximum of no scores: finite, so that differences are numbers


@triton.jit
def split_keys(position, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr):
    """How many keys the split has that a position lies in: a fixed share of its power of two, at least LEAST."""
    x = position | (position >> 1)
    x |= x >> 2
    x |= x >> 4
    x |= x >> 8
    x |= x >> 16
    return tl.maximum((x - (x >> 1)) // PER_OCTAVE, LEAST)


@triton.jit
def split_index(position, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr):
    """How many splits end at or before a position."""
    keys = split_keys(position, LEAST, PER_OCTAVE)
    octaves = (tl.log2((keys // LEAST).to(tl.float32)) + 0.5).to(tl.int32)
    return PER_OCTAVE * octaves + position // keys


@triton.jit
def _share(
    place, counts, record, head, begin, end, is_cut, B: tl.constexpr, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr
):
    """Where in a tile a border falls that stands at a place, counted in blocks of all tiles and heads: at the next
    border of splits. A tile that is not cut has only its ends."""
    blocks = tl.load(place) - head * tl.load(counts + 1) - tl.load(record + 6)
    position = begin + tl.minimum(blocks, (end - begin + B - 1) // B) * B
    keys = split_keys(position - 1, LEAST, PER_OCTAVE)
    border = tl.where(is_cut, ((position - 1) // keys + 1) * keys, end)
    return tl.where(blocks <= 0, begin, tl.minimum(border, end))


@triton.jit
def _fold(most_M, weight_M, values_MH, most2_M, weight2_M, values2_MH):
    """What was seen in all splits before, and in one more."""
    highest_M = tl.maximum(most_M, most2_M)
    fade_M, gain_M = tl.exp2(most_M - highest_M), tl.exp2(most2_M - highest_M)
    weight_M = tl.fma(weight2_M, gain_M, weight_M * fade_M)
    values_MH = tl.fma(values2_MH, tl.broadcast_to(gain_M[:, None], values2_MH.shape), values_MH * fade_M[:, None])
    return highest_M, weight_M, values_MH


@triton.jit
def _kept(pool, slot_B, head, is_key_B, K: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, IS_INT8: tl.constexpr):
    """Keys or values of a block, and their scales; zeros where a position does not exist."""
    WIDTH: tl.constexpr = H + 4 if IS_INT8 else H
    at_B = (slot_B * K + head) * WIDTH
    column_H = tl.arange(0, HP)
    is_there_BH = is_key_B[:, None] & (column_H < H)[None, :] if HP != H else is_key_B[:, None]
    x_BH = tl.load(pool + at_B[:, None] + column_H[None, :], mask=is_there_BH, other=0)
    scale_B = is_key_B.to(tl.float32)
    if IS_INT8:
        scales = (pool + at_B + H).to(tl.pointer_type(tl.float32))
        scale_B = tl.load(scales, mask=is_key_B, other=0.0)
    return x_BH, scale_B


@triton.jit
def attend(
    q_TNH, keys_PKH, values_PKH, out_TNH, counts, tiles_W8, programs_X4, tokens_T3, pages_RP,
    states_SH, weights_S2, arrived_TN, q_stride, pages_stride, scale,
    N: tl.constexpr, K: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    M: tl.constexpr, B: tl.constexpr, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr,
    IS_INT8: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Every program walks through its pairs of a head and a tile, head by head."""
    follow(EARLY)
    program = programs_X4 + 4 * tl.program_id(0)
    num_tiles = tl.load(counts)
    for pair in tl.range(tl.load(program), tl.load(program + 1), disable_licm=True):
        head = pair // num_tiles
        record = tiles_W8 + 8 * (pair % num_tiles)
        begin, end, is_cut = tl.load(record + 4), tl.load(record + 5), tl.load(record + 7) != 0
        first = _share(program + 2, counts, record, head, begin, end, is_cut, B, LEAST, PER_OCTAVE)
        last = _share(program + 3, counts, record, head, begin, end, is_cut, B, LEAST, PER_OCTAVE)
        if first < last:
            pages_P = pages_RP + tl.load(record + 3).to(tl.int64) * pages_stride
            if is_cut:
                _look(
                    q_TNH, keys_PKH, values_PKH, out_TNH, record, tokens_T3, pages_P, states_SH, weights_S2,
                    q_stride, scale, head, first, last,
                    N, K, H, HP, PAGE, WINDOW, M, B, LEAST, PER_OCTAVE, IS_INT8, True,
                )  # fmt: skip
                splits = split_index(last - 1, LEAST, PER_OCTAVE) + 1 - split_index(first, LEAST, PER_OCTAVE)
                _arrive(out_TNH, record, tokens_T3, states_SH, weights_S2, arrived_TN, head, splits, N, K, H, HP, M)
            else:
                _look(
                    q_TNH, keys_PKH, values_PKH, out_TNH, record, tokens_T3, pages_P, states_SH, weights_S2,
                    q_stride, scale, head, first, last,
                    N, K, H, HP, PAGE, WINDOW, M, B, LEAST, PER_OCTAVE, IS_INT8, False,
                )  # fmt: skip


@triton.jit
def _rows(record, head, N: tl.constexpr, K: tl.constexpr, M: tl.constexpr):
    """Token and head of each row of a tile, and which rows it has."""
    G: tl.constexpr = N // K
    row_M = tl.arange(0, M)
    return tl.load(record) + row_M // G, head * G + row_M % G, row_M < tl.load(record + 1) * G


@triton.jit
def _answer(out_TNH, token_M, head_M, is_row_M, weight_M, values_MC, column_C, N: tl.constexpr, H: tl.constexpr):
    """Write the mean of the values."""
    place_MC = ((token_M.to(tl.int64) * N + head_M) * H)[:, None] + column_C[None, :]
    answer_MC = values_MC / tl.where(is_row_M, weight_M, 1.0)[:, None]
    is_asked_MC = is_row_M[:, None] & (column_C < H)[None, :]
    tl.store(out_TNH + place_MC, answer_MC.to(out_TNH.dtype.element_ty), mask=is_asked_MC)


@triton.jit
def _look(
    q_TNH, keys_PKH, values_PKH, out_TNH, record, tokens_T3, pages_P, states_SH, weights_S2,
    q_stride, scale, head, first, last,
    N: tl.constexpr, K: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    M: tl.constexpr, B: tl.constexpr, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr,
    IS_INT8: tl.constexpr, IS_CUT: tl.constexpr,
):  # fmt: skip
    """A tile's queries look at the keys [first, last), whole splits: all there are, or some whose states are kept."""
    G: tl.constexpr = N // K
    token_M, head_M, is_row_M = _rows(record, head, N, K, M)
    column_H = tl.arange(0, HP)
    position_M = tl.load(record + 2) + tl.arange(0, M) // G
    end = tl.load(record + 5)
    is_there_MH = is_row_M[:, None] & (column_H < H)[None, :]
    place_MH = token_M.to(tl.int64)[:, None] * q_stride + head_M[:, None] * H + column_H[None, :]
    q_MH = tl.load(q_TNH + place_MH, mask=is_there_MH, other=0.0)
    most_M, weight_M = tl.full([M], LOWEST, tl.float32), tl.zeros([M], tl.float32)
    values_MH = tl.zeros([M, HP], tl.float32)
    all_most_M, all_weight_M, all_values_MH = most_M, weight_M, values_MH
    for at in tl.range(first, last, B):
        key_B = at + tl.arange(0, B)
        is_key_B = key_B < end
        page_B = tl.load(pages_P + key_B // PAGE, mask=is_key_B, other=0).to(tl.int64)
        slot_B = page_B * PAGE + key_B % PAGE
        k_BH, k_scale_B = _kept(keys_PKH, slot_B, head, is_key_B, K, H, HP, IS_INT8)
        score_MB = tl.dot(q_MH, tl.trans(k_BH.to(q_MH.dtype)), input_precision="ieee")
        if IS_INT8:
            score_MB *= k_scale_B[None, :]
        is_seen_MB = (key_B[None, :] <= position_M[:, None]) & is_key_B[None, :]
        if WINDOW:
            is_seen_MB &= key_B[None, :] > position_M[:, None] - WINDOW
        score_MB = tl.where(is_seen_MB, score_MB, float("-inf"))
        higher_M = tl.maximum(most_M, tl.max(score_MB, 1) * scale)
        share_MB = tl.exp2(tl.fma(score_MB, scale, -tl.broadcast_to(higher_M[:, None], [M, B])))
        fade_M = tl.exp2(most_M - higher_M)
        weight_M = tl.fma(weight_M, fade_M, tl.sum(share_MB, 1))
        most_M = higher_M
        v_BH, v_scale_B = _kept(values_PKH, slot_B, head, is_key_B, K, H, HP, IS_INT8)
        if IS_INT8:
            share_MB *= v_scale_B[None, :]
        values_MH = tl.dot(
            share_MB.to(q_MH.dtype), v_BH.to(q_MH.dtype), values_MH * fade_M[:, None], input_precision="ieee"
        )
        if ((at + B) % split_keys(at, LEAST, PER_OCTAVE) == 0) | (at + B >= last):
            if IS_CUT:
                base_M = tl.load(tokens_T3 + 3 * token_M, mask=is_row_M, other=0)
                place_M = (base_M + split_index(at, LEAST, PER_OCTAVE)).to(tl.int64) * N + head_M
                tl.store(weights_S2 + 2 * place_M, most_M, mask=is_row_M)
                tl.store(weights_S2 + 2 * place_M + 1, weight_M, mask=is_row_M)
                tl.store(states_SH + place_M[:, None] * H + column_H[None, :], values_MH, mask=is_there_MH)
            else:
                all_most_M, all_weight_M, all_values_MH = _fold(
                    all_most_M, all_weight_M, all_values_MH, most_M, weight_M, values_MH
                )
            most_M, weight_M = tl.full([M], LOWEST, tl.float32), tl.zeros([M], tl.float32)
            values_MH = tl.zeros([M, HP], tl.float32)
    if not IS_CUT:
        token_M, head_M, is_row_M = _rows(record, head, N, K, M)
        _answer(out_TNH, token_M, head_M, is_row_M, all_weight_M, all_values_MH, column_H, N, H)


@triton.jit
def _arrive(
    out_TNH, record, tokens_T3, states_SH, weights_S2, arrived_TN, head, splits,
    N: tl.constexpr, K: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Say that some splits of a tile's rows are in memory; fold those rows whose last ones they are."""
    C: tl.constexpr = min(HP, 32)
    token_M, head_M, is_row_M = _rows(record, head, N, K, M)
    base_M = tl.load(tokens_T3 + 3 * token_M, mask=is_row_M, other=0)
    low_M = tl.load(tokens_T3 + 3 * token_M + 1, mask=is_row_M, other=0)
    high_M = tl.load(tokens_T3 + 3 * token_M + 2, mask=is_row_M, other=0)
    arrived_M = arrived_TN + token_M * N + head_M
    tl.debug_barrier()  # all that this program has stored comes before its arrival
    is_last_M = is_row_M & (tl.atomic_add(arrived_M, splits, mask=is_row_M) + splits == high_M - low_M)
    tl.debug_barrier()
    tl.store(arrived_M, 0, mask=is_last_M)
    low, high = tl.min(tl.where(is_last_M, low_M, 1 << 30)), tl.max(tl.where(is_last_M, high_M, 0))
    for column in range(0, HP, C):
        column_C = column + tl.arange(0, C)
        most_M, weight_M = tl.full([M], LOWEST, tl.float32), tl.zeros([M], tl.float32)
        values_MC = tl.zeros([M, C], tl.float32)
        for split in range(low, high):
            is_in_M = is_last_M & (split >= low_M) & (split < high_M)
            place_M = (base_M + split).to(tl.int64) * N + head_M
            most2_M = tl.load(weights_S2 + 2 * place_M, mask=is_in_M, other=LOWEST)
            weight2_M = tl.load(weights_S2 + 2 * place_M + 1, mask=is_in_M, other=0.0)
            is_in_MC = is_in_M[:, None] & (column_C < H)[None, :]
            values2_MC = tl.load(states_SH + place_M[:, None] * H + column_C[None, :], mask=is_in_MC, other=0.0)
            most_M, weight_M, values_MC = _fold(most_M, weight_M, values_MC, most2_M, weight2_M, values2_MC)
        _answer(out_TNH, token_M, head_M, is_last_M, weight_M, values_MC, column_C, N, H)
