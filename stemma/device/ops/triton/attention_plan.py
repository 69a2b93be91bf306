"""Who looks at what: tiles of a step, and each program's share of them, worked out on the device.

One program does it, once per step and width of window, for all layers. All that it decides is decided for speed:
a query's bits do not depend on it (attention.py).

A tile's record: first token, queries, position of the first, row of the page table, first key, end of the keys, blocks
of the tiles before it, whether programs may share it. A token's: place of its split 0 among the states, its first
split, the end of its splits. A program's: its first pair of head and tile, the end of its pairs, its share of blocks.

Shapes: R rows of the step, W tiles, X programs, T tokens.
"""

import triton
import triton.language as tl

from stemma.device.ops.triton.attention import split_index, split_keys


@triton.jit
def lay_out(
    spans_R3, rows_R2, counts, tiles_W8, programs_X4, tokens_T3, num_rows, programs, states, N: tl.constexpr,
    K: tl.constexpr, QUERIES: tl.constexpr, WINDOW: tl.constexpr, B: tl.constexpr, LEAST: tl.constexpr,
    PER_OCTAVE: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr, PROGRAMS: tl.constexpr,
    MOST_QUERIES: tl.constexpr,
):  # fmt: skip
    """Cut every row into tiles of QUERIES, and all blocks of all tiles and heads into equal shares.

    A row that computes nothing is no row. Tiles have room for their splits among `states`, the first ones first; one
    that has not is looked at by one program.
    """
    row_R = tl.arange(0, ROWS)
    count_R = tl.load(spans_R3 + 3 * row_R + 1, mask=row_R < num_rows, other=0)
    tiles_R = (count_R + QUERIES - 1) // QUERIES
    end_R = tl.cumsum(tiles_R)
    tl.store(rows_R2 + 2 * row_R, end_R - tiles_R, mask=row_R < num_rows)
    tl.store(rows_R2 + 2 * row_R + 1, tl.cumsum(count_R) - count_R, mask=row_R < num_rows)
    tl.debug_barrier()
    num_tiles = tl.sum(tiles_R)
    blocks, kept = 0, 0
    for first in range(0, num_tiles, TILES):
        tile_W = first + tl.arange(0, TILES)
        is_tile_W = tile_W < num_tiles
        row_W = tl.minimum(tl.sum((end_R[None, :] <= tile_W[:, None]).to(tl.int32), 1), num_rows - 1)
        before_W = (tile_W - tl.load(rows_R2 + 2 * row_W)) * QUERIES
        token_W = tl.load(rows_R2 + 2 * row_W + 1) + before_W
        position_W = tl.load(spans_R3 + 3 * row_W) + before_W
        queries_W = tl.minimum(tl.load(spans_R3 + 3 * row_W + 1) - before_W, QUERIES)
        queries_W = tl.where(is_tile_W, queries_W, 0)
        stop_W = position_W + queries_W
        begin_W = tl.zeros_like(position_W)
        if WINDOW:
            begin_W = tl.maximum(position_W - WINDOW + 1, 0)
            keys_W = split_keys(begin_W, LEAST, PER_OCTAVE)
            begin_W = begin_W // keys_W * keys_W
        blocks_W = tl.where(is_tile_W, (stop_W - begin_W + B - 1) // B, 0)
        low_W = split_index(begin_W, LEAST, PER_OCTAVE)
        splits_W = split_index(tl.maximum(stop_W - 1, 0), LEAST, PER_OCTAVE) + 1 - low_W
        needs_W = tl.where(is_tile_W & (splits_W > 1), queries_W * splits_W, 0)
        place_W = kept + tl.cumsum(needs_W) - needs_W
        is_cut_W = (needs_W > 0) & ((place_W + needs_W) * N <= states)
        record_W = tiles_W8 + 8 * tile_W
        tl.store(record_W, token_W, mask=is_tile_W)
        tl.store(record_W + 1, queries_W, mask=is_tile_W)
        tl.store(record_W + 2, position_W, mask=is_tile_W)
        tl.store(record_W + 3, tl.load(spans_R3 + 3 * row_W + 2), mask=is_tile_W)
        tl.store(record_W + 4, begin_W, mask=is_tile_W)
        tl.store(record_W + 5, stop_W, mask=is_tile_W)
        tl.store(record_W + 6, blocks + tl.cumsum(blocks_W) - blocks_W, mask=is_tile_W)
        tl.store(record_W + 7, is_cut_W.to(tl.int32), mask=is_tile_W)
        query_Q = tl.arange(0, MOST_QUERIES)
        states_WQ = tokens_T3 + 3 * (token_W[:, None] + query_Q[None, :])
        is_kept_WQ = is_cut_W[:, None] & (query_Q[None, :] < queries_W[:, None])
        zero_WQ = (place_W - low_W)[:, None] + query_Q[None, :] * splits_W[:, None]
        tl.store(states_WQ, zero_WQ, mask=is_kept_WQ)
        tl.store(states_WQ + 1, tl.broadcast_to(low_W[:, None], zero_WQ.shape), mask=is_kept_WQ)
        tl.store(states_WQ + 2, tl.broadcast_to((low_W + splits_W)[:, None], zero_WQ.shape), mask=is_kept_WQ)
        blocks += tl.sum(blocks_W)
        kept += tl.sum(needs_W)
    tl.store(counts, num_tiles)
    tl.store(counts + 1, blocks)
    tl.debug_barrier()
    program_X = tl.arange(0, PROGRAMS)
    share, rest = blocks * K // programs, blocks * K % programs
    low_X = program_X * share + tl.minimum(program_X, rest)
    high_X = low_X + share + (program_X < rest).to(tl.int32)
    is_program_X = program_X < programs
    pair_X = _pair_of(low_X, tiles_W8, num_tiles, blocks, TILES)
    stop_X = tl.where(high_X > low_X, _pair_of(high_X - 1, tiles_W8, num_tiles, blocks, TILES) + 1, pair_X)
    tl.store(programs_X4 + 4 * program_X, pair_X, mask=is_program_X)
    tl.store(programs_X4 + 4 * program_X + 1, stop_X, mask=is_program_X)
    tl.store(programs_X4 + 4 * program_X + 2, low_X, mask=is_program_X)
    tl.store(programs_X4 + 4 * program_X + 3, high_X, mask=is_program_X)


@triton.jit
def _pair_of(block_X, tiles_W8, num_tiles, blocks, TILES: tl.constexpr):
    """The pair of head and tile that a block belongs to, all heads' blocks in one line."""
    all_blocks = tl.maximum(blocks, 1)
    block_X = tl.maximum(block_X, 0)
    head_X, rest_X = block_X // all_blocks, block_X % all_blocks
    found_X = tl.zeros_like(head_X) - 1
    for first in range(0, num_tiles, TILES):
        tile_W = first + tl.arange(0, TILES)
        before_W = tl.load(tiles_W8 + 8 * tile_W + 6, mask=tile_W < num_tiles, other=1 << 30)
        found_X += tl.sum((before_W[None, :] <= rest_X[:, None]).to(tl.int32), 1)
    return head_X * num_tiles + found_X
