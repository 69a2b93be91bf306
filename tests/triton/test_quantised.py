"""Matrices of 8 and 4 bits in Triton have the bits of the reference: integers have no order of summation."""

from typing import get_args

import pytest
import torch

from stemma.core.config.quant import Format, Quantization
from stemma.device.ops.triton import linear
from stemma.device.ops.triton.norm import add_rms_norm_quantise
from stemma.device.ops.triton.quantised import quantise
from tests.matrices import laid
from tests.triton.rows import DTYPES, REFERENCE, TRITON, random

every_format = pytest.mark.parametrize("format", get_args(Quantization))
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@every_format
@every_type
@pytest.mark.parametrize(("outputs", "inputs"), [(97, 80), (64, 1), (3, 517), (70, 1024)])
def test_products_are_those_of_the_reference(format: Format, dtype: torch.dtype, outputs: int, inputs: int) -> None:
    """Whole rounds and others, chunks apart (1024 inputs: two), rows alone and together."""
    x, weight, bias = random(17, inputs, dtype=dtype), random(outputs, inputs, dtype=dtype, seed=1), random(outputs)
    ours, theirs = laid(weight, TRITON, format), laid(weight, REFERENCE, format)
    for chosen in (None, bias.to(dtype)):
        expected = REFERENCE.linear(x, theirs, chosen)
        for rows in (1, 17):
            assert torch.equal(TRITON.linear(x[-rows:], ours, chosen), expected[-rows:])
    assert torch.equal(TRITON.logits(x[:2], ours), REFERENCE.logits(x[:2], theirs))


@every_format
def test_many_rows_and_chunks_one_after_the_other(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = random(130, 1024, dtype=torch.bfloat16), random(70, 1024, dtype=torch.bfloat16, seed=1)
    monkeypatch.setattr(linear, "_is_apart", lambda chunks, tiles: False)
    found = TRITON.linear(x, laid(weight, TRITON, format), None)
    assert torch.equal(found, REFERENCE.linear(x, laid(weight, REFERENCE, format), None))


@every_format
def test_sums_of_the_largest_numbers_are_exact(format: Format) -> None:
    """Every product is as large as it may be, and of one sign."""
    x, weight = torch.ones(1, 2048), -torch.ones(64, 2048)
    found = TRITON.logits(x, laid(weight, TRITON, format))
    assert torch.equal(found, REFERENCE.logits(x, laid(weight, REFERENCE, format)))


@every_format
@every_type
@pytest.mark.parametrize("width", [64, 517])
def test_a_table_gives_its_rows(format: Format, dtype: torch.dtype, width: int) -> None:
    table, tokens = random(97, width, dtype=dtype), torch.tensor([96, 0, 63, 64, 0])
    found = TRITON.embed(tokens, laid(table, TRITON, format))
    assert torch.equal(found, REFERENCE.embed(tokens, laid(table, REFERENCE, format)))


@every_format
def test_a_matrix_may_be_laid_in_parts_of_any_type(format: Format) -> None:
    whole = random(200, 100, dtype=torch.bfloat16)
    parts = laid(torch.zeros_like(whole), TRITON, format)
    for first, end, dtype in ((0, 33, torch.float32), (33, 130, torch.bfloat16), (130, 200, torch.float16)):
        TRITON.lay(parts, first, whole[first:end].to(dtype))
    assert torch.equal(parts.store, laid(whole.to(torch.float16).bfloat16(), TRITON, format).store)


@every_type
@pytest.mark.parametrize("width", [1, 80, 517])
def test_a_norm_that_quantises_gives_what_its_matrix_would_make_of_it(dtype: torch.dtype, width: int) -> None:
    x, skip, weight = random(3, width, dtype=dtype), random(3, width, dtype=dtype, seed=1), random(width, dtype=dtype)
    normed, total = TRITON.add_rms_norm(x, skip, weight, 1e-6)
    found, same_total = add_rms_norm_quantise(x, skip, weight, 1e-6)
    assert torch.equal(same_total, total)
    padded = -(-width // 32) * 32 + 4  # integers and scale; what follows is nobody's
    assert torch.equal(found[:, :padded], quantise(normed)[:, :padded])


@every_format
def test_gated_outputs_have_the_bits_of_the_two_ops(format: Format) -> None:
    x, weight, bias = random(5, 80, dtype=torch.bfloat16), random(150, 80, dtype=torch.bfloat16, seed=1), random(150)
    matrix = laid(weight, TRITON, format)
    found = TRITON.gated_linear(x, matrix, bias.bfloat16(), "silu")
    assert torch.equal(found, TRITON.gated(TRITON.linear(x, matrix, bias.bfloat16()), "silu"))


@every_format
def test_damaged_numbers_reach_the_answer(format: Format) -> None:
    x, weight = torch.ones(4, 40), torch.ones(70, 40)
    x[0, 3], x[1, 39], x[2] = torch.nan, -torch.inf, 0
    weight[5, 7], weight[69, 0] = torch.inf, torch.nan
    found = TRITON.linear(x, laid(weight, TRITON, format), None)
    assert not found[:2].isfinite().any()
    assert not found[:, [5, 69]].isfinite().any()
    assert (found[2, :5] == 0).all() and (found[3, 6:69] - 40).abs().max() < 1e-3
