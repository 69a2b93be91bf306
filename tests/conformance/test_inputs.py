"""The inputs of a step by every body, beside a loop that spells them out."""

import numpy as np
import pytest
import torch

from stemma.core.base.errors import Bug
from stemma.core.types.step import NO_TOKEN, Span, pack_spans
from stemma.core.types.tokens import unpack
from stemma.device.ops.inputs import Tables
from stemma.device.ops.table import ops_of
from tests.bodies import BODIES, Body

ROWS, CONTEXT = 9, 200


def tables_of(seed: int) -> Tables:
    draw, size = np.random.default_rng(seed), (1, 4, 16)[seed % 3]
    columns = (
        draw.integers(0, 1000, (ROWS, CONTEXT), np.int32),
        draw.integers(0, 10**6, (ROWS, CONTEXT)),
        np.full(ROWS, 190),
        np.full(ROWS, -(-190 // size)),
        np.full(ROWS, 2),
    )
    return Tables(size, *map(torch.from_numpy, columns))


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_tokens_positions_slots_and_draws(body: Body, seed: int) -> None:
    draw, tables = np.random.default_rng(seed), tables_of(seed)
    reader, size = ops_of(body.kernels).inputs(tables, 400), tables.page_size
    for rows in (1 + seed, 1, 1, 5):  # of one size twice, then of others
        spans = [
            Span(row, int(draw.integers(2, 150)), int(draw.integers(1, 40)), int(draw.integers(0, 2)))
            for row in draw.permutation(ROWS)[:rows].tolist()
        ]
        found = reader.read(pack_spans(word for span in spans for word in span))
        expected = [
            (tables.tokens_RC[row, at], at, tables.pages_RP[row, at // size] * size + at % size)
            for row, start, count, _ in spans
            for at in range(start, start + count)
        ]
        assert list(zip(*(column.tolist() for column in found[:3]), strict=True)) == expected
        ends = np.cumsum([span.count for span in spans])
        places = [
            (part, span.row, span.start + span.count, ends[part] - 1) for part, span in enumerate(spans) if span.draws
        ]
        assert list(zip(*(column.tolist() for column in found.drawn), strict=True)) == places


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Span(9, 0, 1, 0), "nobody was seated"),
        (Span(3, 0, 1, 0), "nobody was seated"),
        (Span(2, 150, 41, 0), "knows 190 tokens"),
        (Span(2, 150, 0, 0), "knows 190 tokens"),
        (Span(2, -1, 5, 0), "knows 190 tokens"),
        (Span(2, 0, 1, 1), "inside its prompt of 2"),
        (Span(1, 0, 20, 1), "on 1 pages of 4"),
    ],
)
def test_spans_that_cannot_be(body: Body, wrong: Span, says: str) -> None:
    tables = tables_of(1)
    tables.known_R[3], tables.paged_R[1] = 0, 1
    read = ops_of(body.kernels).inputs(tables, 400).read
    with pytest.raises(Bug, match=says):
        read(pack_spans((*Span(0, 5, 3, 0), *wrong)))
    assert read(pack_spans(Span(0, 5, 3, 0))).positions_T.tolist() == [5, 6, 7]


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_what_is_drawn_is_kept(body: Body) -> None:
    tables = tables_of(2)
    expected, reader = tables.tokens_RC.clone(), ops_of(body.kernels).inputs(tables, 400)
    spans = Span(4, 3, 5, 1), Span(2, 0, 1, 0), Span(7, 189, 1, 1), Span(0, 1, 1, 1)
    reader.read(pack_spans(word for span in spans for word in span))
    said = reader.keep([torch.tensor([501]), torch.tensor([502, 503])])
    assert unpack(said).tolist() == [501, NO_TOKEN, 502, 503]
    expected[[4, 7, 0], [8, 190, 2]] = torch.tensor([501, 502, 503], dtype=torch.int32)
    assert torch.equal(tables.tokens_RC, expected)
    assert tables.known_R.tolist() == [3, 190, 190, 190, 9, 190, 190, 191, 190]
