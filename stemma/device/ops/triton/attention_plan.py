"""Who looks at what: tiles of a step, and each program's share of them, worked out on the device.

Done once per step, for all layers of a width of window. All that is decided here is decided for speed: a query's bits
do not depend on it (attention.py).

Neighbouring rows of a few queries that begin with the same pages look at them together: the splits that all of them
begin with make tiles of their own, of which each query keeps its states, and every row goes on alone.

A tile's record: first token, queries, position of the first, row of the page table, first key, end of the keys, blocks
of the tiles before it, whether its states are kept. A token's: place of its split 0 among the states, its first split,
the end of its splits. A program's: its first pair of head and tile, the end of its pairs, its share of blocks. A row's:
first tile, first token, shared keys, shared tiles, queries of those, place of its states, of which run it is.

Shapes: R rows of the step, C some of them, W tiles, Q queries of a tile, X programs, T tokens, P pages of a row.
"""

import triton
import triton.language as tl

from stemma.device.ops.triton.attention import split_index, split_keys


@triton.jit
def find_shared(
    spans_R3, pages_RP, shared_R, pages_stride,
    QUERIES: tl.constexpr, PAGE: tl.constexpr, SHARED: tl.constexpr, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr,
    PAGES: tl.constexpr,
):  # fmt: skip
    """How many keys, in whole splits, a row has on the same pages as the row before it; 0 if less than SHARED."""
    row = tl.program_id(0)
    span, other = spans_R3 + 3 * row, spans_R3 + 3 * tl.maximum(row - 1, 0)
    count, others = tl.load(span + 1), tl.load(other + 1)
    fits = (row > 0) & (count > 0) & (count <= QUERIES) & (others > 0) & (others <= QUERIES)
    same = tl.where(fits, tl.minimum(tl.load(span), tl.load(other)) // PAGE, 0)
    own_P = pages_RP + tl.load(span + 2).to(tl.int64) * pages_stride
    other_P = pages_RP + tl.load(other + 2).to(tl.int64) * pages_stride
    first = 0
    while first < same:
        page_P = first + tl.arange(0, PAGES)
        is_page_P = page_P < same
        differs_P = tl.load(own_P + page_P, mask=is_page_P, other=0) != tl.load(
            other_P + page_P, mask=is_page_P, other=0
        )
        same = tl.min(tl.where(differs_P, page_P, same))
        first += PAGES
    keys = same * PAGE
    split = split_keys(keys, LEAST, PER_OCTAVE)
    keys = keys // split * split
    tl.store(shared_R + row, tl.where(keys >= SHARED, keys, 0))


@triton.jit
def _lay_rows(
    spans_R3, shared_R, rows_R8, num_rows, states, N: tl.constexpr, QUERIES: tl.constexpr, LEAST: tl.constexpr,
    PER_OCTAVE: tl.constexpr, ROWS: tl.constexpr, SOME: tl.constexpr,
):  # fmt: skip
    """Runs of rows that share keys, the tiles of every row, and how many tiles and kept states there are."""
    row_R = tl.arange(0, ROWS)
    is_row_R = row_R < num_rows
    count_R = tl.load(spans_R3 + 3 * row_R + 1, mask=is_row_R, other=0)
    shared_with_R = tl.zeros_like(row_R)
    if shared_R is not None:
        shared_with_R = tl.load(shared_R + row_R, mask=is_row_R, other=0)
    run_R = tl.cumsum((shared_with_R == 0).to(tl.int32))
    tl.store(rows_R8 + 8 * row_R + 6, run_R, mask=is_row_R)
    tl.debug_barrier()
    for first in range(0, num_rows, SOME):
        row_C = first + tl.arange(0, SOME)
        run_C = tl.load(rows_R8 + 8 * row_C + 6, mask=row_C < num_rows, other=0)
        is_run_CR = (run_R[None, :] == run_C[:, None]) & is_row_R[None, :]
        keys_C = tl.min(tl.where(is_run_CR & (shared_with_R > 0)[None, :], shared_with_R[None, :], 1 << 30), 1)
        keys_C = tl.where(keys_C == 1 << 30, 0, keys_C)
        queries_C = tl.sum(tl.where(is_run_CR, count_R[None, :], 0), 1)
        is_first_C = tl.min(tl.where(is_run_CR, row_R[None, :], ROWS), 1) == row_C
        tiles_C = tl.where(is_first_C & (keys_C > 0), (queries_C + QUERIES - 1) // QUERIES, 0)
        tl.store(rows_R8 + 8 * row_C + 2, keys_C, mask=row_C < num_rows)
        tl.store(rows_R8 + 8 * row_C + 3, tiles_C, mask=row_C < num_rows)
        tl.store(rows_R8 + 8 * row_C + 4, queries_C, mask=row_C < num_rows)
    tl.debug_barrier()
    keys_R = tl.load(rows_R8 + 8 * row_R + 2, mask=is_row_R, other=0)
    shared_tiles_R = tl.load(rows_R8 + 8 * row_R + 3, mask=is_row_R, other=0)
    last_R = tl.load(spans_R3 + 3 * row_R, mask=is_row_R, other=0) + count_R - 1
    needs_R = tl.where(keys_R > 0, count_R * (split_index(tl.maximum(last_R, 0), LEAST, PER_OCTAVE) + 1), 0)
    fits = (tl.sum(needs_R) * N <= states).to(tl.int32)  # else nobody shares
    tl.debug_barrier()  # all threads have read before one of them writes there again
    needs_R, shared_tiles_R = needs_R * fits, shared_tiles_R * fits
    tiles_R = (count_R + QUERIES - 1) // QUERIES + shared_tiles_R
    tl.store(rows_R8 + 8 * row_R, tl.cumsum(tiles_R) - tiles_R, mask=is_row_R)
    tl.store(rows_R8 + 8 * row_R + 1, tl.cumsum(count_R) - count_R, mask=is_row_R)
    tl.store(rows_R8 + 8 * row_R + 2, keys_R * fits, mask=is_row_R)
    tl.store(rows_R8 + 8 * row_R + 3, shared_tiles_R, mask=is_row_R)
    tl.store(rows_R8 + 8 * row_R + 5, tl.cumsum(needs_R) - needs_R, mask=is_row_R)
    tl.debug_barrier()
    return tl.cumsum(tiles_R), tl.sum(tiles_R), tl.sum(needs_R)


@triton.jit
def _lay_tiles(
    spans_R3, rows_R8, tiles_W8, tokens_T3, end_R, num_tiles, kept, num_rows, states, N: tl.constexpr,
    QUERIES: tl.constexpr, WINDOW: tl.constexpr, B: tl.constexpr, LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr,
    TILES: tl.constexpr, MOST_QUERIES: tl.constexpr,
):  # fmt: skip
    """The record of every tile, and of the tokens whose states are kept. All blocks of one head come back.

    A tile of several splits keeps their states if there is room for them, the first ones first, so that programs can
    share it; else one program looks at it.
    """
    blocks = 0
    for first in range(0, num_tiles, TILES):
        tile_W = first + tl.arange(0, TILES)
        is_tile_W = tile_W < num_tiles
        row_W = tl.minimum(tl.sum((end_R[None, :] <= tile_W[:, None]).to(tl.int32), 1), num_rows - 1)
        row_W8, span_W3 = rows_R8 + 8 * row_W, spans_R3 + 3 * row_W
        shared_W, shared_tiles_W = tl.load(row_W8 + 2), tl.load(row_W8 + 3)
        index_W = tile_W - tl.load(row_W8)
        is_shared_W = index_W < shared_tiles_W
        before_W = tl.where(is_shared_W, index_W, index_W - shared_tiles_W) * QUERIES
        all_W = tl.where(is_shared_W, tl.load(row_W8 + 4), tl.load(span_W3 + 1))
        queries_W = tl.where(is_tile_W, tl.minimum(all_W - before_W, QUERIES), 0)
        token_W = tl.load(row_W8 + 1) + before_W
        position_W = tl.where(is_shared_W, shared_W, tl.load(span_W3) + before_W)
        stop_W = tl.where(is_shared_W, shared_W, position_W + queries_W)
        begin_W = tl.where(is_shared_W, 0, shared_W)
        if WINDOW:
            begin_W = tl.maximum(position_W - WINDOW + 1, 0)
            keys_W = split_keys(begin_W, LEAST, PER_OCTAVE)
            begin_W = begin_W // keys_W * keys_W
        blocks_W = tl.where(is_tile_W, (stop_W - begin_W + B - 1) // B, 0)
        low_W = tl.where(shared_W > 0, 0, split_index(begin_W, LEAST, PER_OCTAVE))
        splits_W = split_index(tl.maximum(stop_W - 1, 0), LEAST, PER_OCTAVE) + 1 - low_W
        needs_W = tl.where(is_tile_W & (splits_W > 1) & (shared_W == 0), queries_W * splits_W, 0)
        place_W = tl.where(shared_W > 0, tl.load(row_W8 + 5), kept + tl.cumsum(needs_W) - needs_W)
        is_cut_W = (shared_W > 0) | ((needs_W > 0) & ((place_W + needs_W) * N <= states))
        record_W = tiles_W8 + 8 * tile_W
        tl.store(record_W, token_W, mask=is_tile_W)
        tl.store(record_W + 1, queries_W, mask=is_tile_W)
        tl.store(record_W + 2, position_W, mask=is_tile_W)
        tl.store(record_W + 3, tl.load(span_W3 + 2), mask=is_tile_W)
        tl.store(record_W + 4, begin_W, mask=is_tile_W)
        tl.store(record_W + 5, stop_W, mask=is_tile_W)
        tl.store(record_W + 6, blocks + tl.cumsum(blocks_W) - blocks_W, mask=is_tile_W)
        tl.store(record_W + 7, is_cut_W.to(tl.int32), mask=is_tile_W)
        query_Q = tl.arange(0, MOST_QUERIES)
        token_WQ = tokens_T3 + 3 * (token_W[:, None] + query_Q[None, :])
        is_kept_WQ = (is_tile_W & is_cut_W & (is_shared_W == 0))[:, None] & (query_Q[None, :] < queries_W[:, None])
        zero_WQ = (place_W - low_W)[:, None] + query_Q[None, :] * splits_W[:, None]
        tl.store(token_WQ, zero_WQ, mask=is_kept_WQ)
        tl.store(token_WQ + 1, tl.broadcast_to(low_W[:, None], zero_WQ.shape), mask=is_kept_WQ)
        tl.store(token_WQ + 2, tl.broadcast_to((low_W + splits_W)[:, None], zero_WQ.shape), mask=is_kept_WQ)
        blocks += tl.sum(blocks_W)
        kept += tl.sum(needs_W)
    return blocks


@triton.jit
def _share_out(
    programs_X4, tiles_W8, num_tiles, blocks, programs, K: tl.constexpr, TILES: tl.constexpr, PROGRAMS: tl.constexpr
):
    """All blocks of all tiles and heads, in equal shares."""
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


@triton.jit(do_not_specialize=["num_rows"])
def lay_out(
    spans_R3, shared_R, rows_R8, counts, tiles_W8, programs_X4, tokens_T3, num_rows, programs, states,
    N: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, WINDOW: tl.constexpr, B: tl.constexpr,
    LEAST: tl.constexpr, PER_OCTAVE: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr, PROGRAMS: tl.constexpr,
    MOST_QUERIES: tl.constexpr,
):  # fmt: skip
    """Cut every row into tiles of QUERIES, and what they look at into a share for each program.

    A row that computes nothing has no tile.
    """
    end_R, num_tiles, kept = _lay_rows(
        spans_R3, shared_R, rows_R8, num_rows, states, N, QUERIES, LEAST, PER_OCTAVE, ROWS, TILES // 4
    )
    blocks = _lay_tiles(
        spans_R3, rows_R8, tiles_W8, tokens_T3, end_R, num_tiles, kept, num_rows, states,
        N, QUERIES, WINDOW, B, LEAST, PER_OCTAVE, TILES, MOST_QUERIES,
    )  # fmt: skip
    tl.store(counts, num_tiles)
    tl.store(counts + 1, blocks)
    tl.debug_barrier()
    _share_out(programs_X4, tiles_W8, num_tiles, blocks, programs, K, TILES, PROGRAMS)
