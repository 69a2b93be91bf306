"""What a plan says: every query walks through its own blocks, once and in order; what rows share is read once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.device.attention.backend import Spans
from stemma.device.attention.native import NativeAttention, NativePlan
from stemma.device.kv.pool import KVPool
from tests.bodies import NATIVE
from tests.conformance.test_attention import spec_of
from tests.spans import Span, together

BLOCK, SPLIT, TILE = 64, 32, 64
SECTION, PIECE, RUN, UNIT, FOLD = 8, 5, 4, 5, 4  # words

pytestmark = pytest.mark.skipif(not NATIVE, reason="native kernels cannot be built here")


class Piece(NamedTuple):
    position: int
    queries: int
    token: int
    pages: int
    row: int


class Unit(NamedTuple):
    first: int
    last: int
    runs: Sequence[tuple[int, int, int, int]]  # first and last piece, first and last block
    partial: int


class Read(NamedTuple):
    """A section, as its words say."""

    pieces: list[Piece]
    units: list[Unit]
    folds: list[list[int]]
    partials: int

    @property
    def blocks(self) -> int:
        return sum(end - begin for unit in self.units for _, _, begin, end in unit.runs)


def planned(
    spans: Spans, heads: int = 4, kv_heads: int = 2, windows: tuple[int, ...] = (0,), page_size: int = 16
) -> list[Read]:
    spec = spec_of(heads, kv_heads, windows)
    backend = NativeAttention(spec, KVPool(spec, 1, page_size, torch.float32), NATIVE[-1].kernels)
    plan = backend.plan(spans)
    assert isinstance(plan, NativePlan)
    words = plan.words.tolist()

    def read(at: int) -> Read:
        pieces, runs, units, folds, num_units, num_folds, partials, _ = words[at : at + SECTION]
        return Read(
            pieces=[Piece(*words[p : p + PIECE]) for p in range(pieces, runs, PIECE)],
            units=[
                Unit(
                    first,
                    last,
                    [(*words[r : r + RUN],) for r in range(runs + RUN * run, runs + RUN * last_run, RUN)],
                    partial,
                )
                for first, last, run, last_run, partial in (
                    words[u : u + UNIT] for u in range(units, units + num_units * UNIT, UNIT)
                )
            ],
            folds=[words[f : f + FOLD] for f in range(folds, folds + num_folds * FOLD, FOLD)],
            partials=partials,
        )

    return [read(1 + SECTION * at) for at in range(len(dict.fromkeys(windows)))]


def decodes(tables: Sequence[Tensor], lengths: Sequence[int], count: int = 1) -> Spans:
    return together([Span(length - count, count, table) for table, length in zip(tables, lengths, strict=True)])


def test_a_shared_prefix_is_read_once() -> None:
    shared, own = torch.arange(64), torch.arange(100, 228).view(32, 4)
    spans = decodes([torch.cat([shared, row]) for row in own], [1024 + 60] * 32)
    (found,) = planned(spans)
    assert len(found.units) == 1
    assert found.blocks == 16 + 32
    (apart,) = planned(decodes([torch.cat([shared + 500 * row, own[row]]) for row in range(32)], [1024 + 60] * 32))
    assert len(apart.units) == 32
    assert apart.blocks == 32 * 17


def test_prefixes_of_prefixes_are_read_once_too() -> None:
    root = torch.arange(8)  # two blocks
    branches = [torch.cat([root, torch.arange(20 + 8 * side, 28 + 8 * side)]) for side in range(2)]
    tables = [torch.cat([branches[at % 2], torch.arange(100 + 8 * at, 104 + 8 * at)]) for at in range(6)]
    (found,) = planned(decodes(tables, [16 * 16 + 50] * 6))
    assert found.blocks == 2 + 2 * 2 + 6


def test_each_window_has_its_section() -> None:
    table = torch.arange(64)
    full, narrow = planned(decodes([table], [1000]), windows=(0, 100, 0))
    assert (full.blocks, narrow.blocks) == (16, 2)


def test_a_long_row_is_split_when_there_are_threads_without_work() -> None:
    table = torch.arange(400)
    torch.set_num_threads(2)
    try:
        (found,) = planned(decodes([table], [6400]), heads=3, kv_heads=1)
        (many,) = planned(decodes([table] * 9, [6400 - at for at in range(9)]), heads=64, kv_heads=8)
    finally:
        torch.set_num_threads(1)
    assert [unit.runs for unit in sorted(found.units, key=lambda unit: unit.partial)] == [
        [(0, 1, 0, 32)],
        [(0, 1, 32, 64)],
        [(0, 1, 64, 96)],
        [(0, 1, 96, 100)],
    ]
    assert found.folds == [[0, 1, 0, 4]]
    assert found.partials == 4 * 3
    assert not many.folds


@pytest.mark.parametrize("seed", range(40))
def test_every_query_walks_through_its_blocks_in_order(seed: int) -> None:
    """Random trees of pages, chunks, windows, threads."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    page_size, window = (4, 16, 128)[draw(0, 2)], (0, 0, 70, 700)[draw(0, 3)]
    fresh = iter(range(1 << 20))
    tables: list[list[int]] = []
    for _ in range(draw(1, 12)):
        like = tables[draw(0, len(tables) - 1)] if tables else []
        length = draw(1, 5000 if draw(0, 3) == 0 else 600)
        pages = ceil_div(length, page_size)
        kept = like[: draw(0, min(len(like), pages - 1))]
        tables.append(kept + [next(fresh) for _ in range(pages - len(kept))])
    spans = []
    for table in tables:
        end = draw(max(1, (len(table) - 1) * page_size), len(table) * page_size)
        count = min(end, (1, 1, 3, 200)[draw(0, 3)])
        spans.append(Span(end - count, count, torch.tensor(table)))
    torch.set_num_threads(threads := draw(1, 3))
    try:
        (found,) = planned(step := together(spans), windows=(window,), page_size=page_size)
    finally:
        torch.set_num_threads(1)
    assert sorted(token for piece in found.pieces for token in range(piece.token, piece.token + piece.queries)) == list(
        range(sum(span.count for span in spans))
    )
    blocks: dict[int, list[int]] = {at: [] for at in range(len(found.pieces))}
    for at, seen in walks(found):
        blocks[at] += seen
    for at, piece in enumerate(found.pieces):
        oldest = max(0, piece.position - window + 1) if window else 0
        assert blocks[at] == list(range(oldest // BLOCK, ceil_div(piece.position + piece.queries, BLOCK)))
    assert all(len(found.units) < 4 * threads for _ in found.folds)
    table_RP = step.pages_RP
    addresses = [table_RP.ctypes.data + row * table_RP.strides[0] for row in range(len(spans))]
    check_sharing(found, dict(zip(addresses, tables, strict=True)), page_size)


def walks(found: Read) -> Iterator[tuple[int, list[int]]]:
    """Which piece looks at which blocks, parts in their order."""
    for unit in sorted(found.units, key=lambda unit: unit.partial):
        for first, last, begin, end in unit.runs:
            for piece in range(first, last):
                yield piece, list(range(begin, end))


def check_sharing(found: Read, tables: dict[int, list[int]], page_size: int) -> None:
    """Pieces that look at a block together mean the same pages, all of them whole."""
    for unit in found.units:
        assert sum(piece.queries for piece in found.pieces[unit.first : unit.last]) * 2 <= TILE
        for first, last, begin, end in unit.runs:
            pages = [
                tables[piece.pages][begin * BLOCK // page_size : ceil_div(end * BLOCK, page_size)]
                for piece in found.pieces[first:last]
            ]
            if last - first > 1:
                assert all(table == pages[0] for table in pages)
                assert all(piece.position + piece.queries >= end * BLOCK for piece in found.pieces[first:last])
