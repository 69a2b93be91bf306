"""Matrix products in Triton: one order of summation for any number of rows."""

import pytest
import torch
from torch import Tensor

from stemma.device.ops.triton import linear, rules
from tests.matrices import laid
from tests.triton.rows import DTYPES, REFERENCE, TRITON, assert_near, random


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), [(97, 80), (64, 1), (3, 517), (70, 2048)])
def test_rows_have_the_bits_that_they_have_alone(dtype: torch.dtype, outputs: int, inputs: int) -> None:
    """For every shape of a program, with chunks apart (2048 inputs: four of them) and one after the other."""
    x, weight, bias = random(130, inputs, dtype=dtype), random(outputs, inputs, dtype=dtype, seed=1), random(outputs)
    matrix = laid(weight)
    every = TRITON.linear(x, matrix, bias.to(dtype))
    assert_near(every, REFERENCE.linear(x, matrix, bias.to(dtype)))
    for rows in (1, 2, 17, 33, 65):
        assert torch.equal(TRITON.linear(x[-rows:], matrix, bias.to(dtype)), every[-rows:]), f"{rows} rows"


def test_chunks_one_after_the_other_give_the_bits_of_chunks_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x, matrix = random(3, 2048, dtype=torch.bfloat16), laid(random(97, 2048, dtype=torch.bfloat16, seed=1))
    apart = TRITON.logits(x, matrix)
    monkeypatch.setattr(linear, "_is_apart", lambda chunks, tiles: False)
    assert torch.equal(TRITON.logits(x, matrix), apart)


@pytest.mark.parametrize("rows", [1, 20])
def test_logits_stay_in_float32(rows: int) -> None:
    x, weight = random(rows, 640, dtype=torch.bfloat16), random(97, 640, dtype=torch.bfloat16, seed=1)
    found = TRITON.logits(x, laid(weight))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (x.double() @ weight.double().T).float(), atol=3e-4, rtol=0)


def test_damaged_numbers_reach_the_answer_and_no_other() -> None:
    x, weight = torch.ones(3, 40), torch.ones(70, 40)
    x[1, 39], weight[69, 0] = torch.nan, torch.inf
    found = TRITON.linear(x, laid(weight), None)
    assert found[1].isnan().all()
    assert (found[[0, 2], 69] == torch.inf).all()
    assert torch.equal(found[[0, 2]][:, :69], torch.full((2, 69), 40.0))


@pytest.mark.parametrize(("outputs", "inputs"), [(6144, 4096), (4096, 4096), (24576, 4096), (4096, 12288)])
def test_chunks_are_whole_and_fill_the_device(outputs: int, inputs: int) -> None:
    chunk = rules.chunk_of(inputs, outputs)
    assert chunk % rules.DEPTH == 0 and inputs % chunk == 0
    programs = outputs // 64 * (inputs // chunk)
    assert programs >= 0.4 * rules.PROGRAMS and (chunk == inputs or programs <= rules.PROGRAMS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("inputs", [80, 2048])
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_gated_outputs_have_the_bits_of_the_two_ops(dtype: torch.dtype, inputs: int, activation: str) -> None:
    x, weight, bias = random(20, inputs, dtype=dtype), random(150, inputs, dtype=dtype, seed=1), random(150).to(dtype)
    matrix = laid(weight)
    for rows in (1, 20):
        found = TRITON.gated_linear(x[:rows], matrix, bias, activation)
        assert torch.equal(found, TRITON.gated(TRITON.linear(x[:rows], matrix, bias), activation))


def strided(x: Tensor) -> Tensor:
    """The same in memory with gaps."""
    return torch.cat([x, x], dim=1)[:, : x.shape[1]]


def test_rows_may_have_gaps_between_them() -> None:
    x, matrix = random(4, 80), laid(random(64, 80, seed=1))
    assert torch.equal(TRITON.linear(strided(x), matrix, None), TRITON.linear(x, matrix, None))
