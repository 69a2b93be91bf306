"""The inputs of a step by every body, beside a loop that spells them out."""

import numpy as np
import pytest
import torch

from stemma.device.ops.inputs import Tables
from stemma.device.ops.table import ops_of
from tests.bodies import BODIES, Body


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_tokens_positions_and_slots(body: Body, seed: int) -> None:
    draw, size = np.random.default_rng(seed), (1, 4, 16)[seed % 3]
    tokens_RC, pages_RP = draw.integers(0, 1000, (9, 200), np.int32), draw.integers(0, 10**6, (9, 200))
    rows = draw.permutation(9)[: 1 + seed]
    starts, counts = draw.integers(0, 150, len(rows)), draw.integers(1, 40, len(rows))
    parts_N4 = np.stack([rows, starts, counts, draw.integers(0, 2, len(rows))], axis=1)
    tables = Tables(torch.from_numpy(tokens_RC), torch.from_numpy(pages_RP), size)
    found = ops_of(body.kernels).inputs(parts_N4, tables, int(counts.sum()))
    expected = [
        (tokens_RC[row, at], at, pages_RP[row, at // size] * size + at % size)
        for row, start, count in zip(rows, starts, counts, strict=True)
        for at in range(start, start + count)
    ]
    assert list(zip(*(column.tolist() for column in found[:3]), strict=True)) == expected
    assert all(expected[zero + start][1] == start for zero, start in zip(found.zero_N, starts, strict=True))
