"""Matrix products in Triton: one order of summation for any number of rows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stemma.device.ops.triton import linear, rules
from stemma.device.ops.triton.bulk import bulk_product
from stemma.device.ops.triton.rules import Rule, Shape
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


@pytest.mark.parametrize("chunk", [128, 640])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_blocks_that_are_copied_in_bulk_give_the_same_bits(
    chunk: int, activation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without chunks; rows, outputs and inputs end within a block. Rows that no copy can read stay out."""
    copied = list[int]()

    def counted(out: Tensor, x: Tensor, *given: Any) -> None:
        copied.append(len(x))
        bulk_product(out, x, *given)

    monkeypatch.setattr(linear, "_is_apart", lambda chunks, tiles: False)
    monkeypatch.setattr(linear, "bulk_product", counted)
    few, bulk = Shape(16, 64, 128, 4, 2), Shape(32, 64, 64, 4, 2, is_bulk=True)
    x, bias = random(70, 520, dtype=torch.bfloat16), random(150, dtype=torch.bfloat16)
    matrix = laid(random(150, 520, dtype=torch.bfloat16, seed=1))

    def computed(x: Tensor, *shapes: Shape) -> Tensor:
        out = x.new_empty(len(x), 150 if activation is None else 75)
        return linear.product(out, x, matrix, bias, activation, Rule(chunk, shapes))

    expected = computed(x, few)
    assert torch.equal(computed(x, few, bulk), expected)
    assert torch.equal(computed(torch.cat([x, x[:, :1]], 1)[:, :520], few, bulk), expected)
    assert torch.equal(computed(x[:9], few, bulk), expected[:9])
    assert copied == [70]


def test_many_rows_are_copied_in_bulk_on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("meta")
    in_chunks, at_once = (rules.reckoned(device, "plain", outputs, 4096) for outputs in (4096, 24576))
    assert in_chunks.shape(129) == rules.BULK and at_once.shape(129) == rules.WIDE_BULK
    assert in_chunks.shape(129, is_bulk=False) == in_chunks.shape(128) == rules.SHAPES[-1]
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not rules.reckoned(device, "plain", 4096, 4096).shape(8192).is_bulk
    assert not rules.reckoned(torch.device("cpu"), "plain", 4096, 4096).shape(8192).is_bulk


def strided(x: Tensor) -> Tensor:
    """The same in memory with gaps."""
    return torch.cat([x, x], dim=1)[:, : x.shape[1]]


def test_rows_may_have_gaps_between_them() -> None:
    x, matrix = random(4, 80), laid(random(64, 80, seed=1))
    assert torch.equal(TRITON.linear(strided(x), matrix, None), TRITON.linear(x, matrix, None))
