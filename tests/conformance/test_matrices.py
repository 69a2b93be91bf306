"""Products and tables in every format: native bodies against the reference, rows against the same rows alone."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from stemma.core.config.quant import Format
from stemma.device.ops.table import ops_of
from tests.bodies import NATIVE, Body
from tests.conformance.test_ops import CROWDS, assert_near, every_body, every_type, every_width, random
from tests.matrices import REFERENCE, laid

QUANTISED = get_args(Format)[1:]
every_format = pytest.mark.parametrize("format", get_args(Format))


def assert_like_the_reference(
    format: Format, body: Body, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> None:
    """Plain products are near the reference's, quantised ones have its bits: integers have no order of summation.

    Rows of any crowd on 1 and 2 threads have the bits that they have alone.
    """
    ops, expected = ops_of(body.kernels), REFERENCE.linear(x, laid(weight, format=format), bias)
    matrix = laid(weight, ops, format)
    torch.set_num_threads(1)
    alone = torch.cat([ops.linear(row.unsqueeze(0), matrix, bias) for row in x])
    if format == "plain":
        assert_near(alone, expected)
    else:
        assert torch.equal(alone, expected)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows in CROWDS:
            assert torch.equal(ops.linear(x[-rows:], matrix, bias), alone[-rows:]), f"{rows} rows, {threads} threads"


@every_body
@every_type
@every_width
@every_format
@pytest.mark.parametrize("outputs", [97, 1000])
def test_linear(body: Body, dtype: torch.dtype, width: int, format: Format, outputs: int) -> None:
    weight, bias = random(outputs, width, dtype=dtype, seed=1), random(outputs, dtype=dtype, seed=2)
    for chosen in (None, bias):
        assert_like_the_reference(format, body, random(CROWDS[-1], width, dtype=dtype), weight, chosen)


@every_body
@every_type
@every_format
def test_a_large_product_is_shared_among_threads(body: Body, dtype: torch.dtype, format: Format) -> None:
    x = random(CROWDS[-1], 1700, dtype=dtype)
    assert_like_the_reference(format, body, x, random(3000, 1700, dtype=dtype, seed=1))


@every_body
@every_type
@every_format
def test_logits_stay_in_float32(body: Body, dtype: torch.dtype, format: Format) -> None:
    weight, ops, x = random(97, 80, dtype=dtype, seed=1), ops_of(body.kernels), random(CROWDS[-1], 80, dtype=dtype)
    matrix = laid(weight, ops, format)
    found = ops.logits(x, matrix)
    if format == "plain":
        torch.testing.assert_close(found, x.double().matmul(weight.double().T).float(), atol=3e-5, rtol=0)
    else:
        assert torch.equal(found, REFERENCE.logits(x, laid(weight, format=format)))
    for rows in CROWDS:
        assert torch.equal(ops.logits(x[-rows:], matrix), found[-rows:])


@every_body
@every_type
@every_width
@every_format
def test_a_table_gives_its_rows(body: Body, dtype: torch.dtype, width: int, format: Format) -> None:
    table, ops, tokens = random(97, width, dtype=dtype), ops_of(body.kernels), torch.tensor([96, 0, 63, 64, 0])
    found = ops.embed(tokens, laid(table, ops, format))
    assert torch.equal(
        found, table[tokens] if format == "plain" else REFERENCE.embed(tokens, laid(table, format=format))
    )


@every_body
@every_format
def test_a_matrix_may_be_laid_in_parts_of_any_type(body: Body, format: Format) -> None:
    ops, whole = ops_of(body.kernels), random(200, 100, dtype=torch.bfloat16)
    parts = laid(torch.zeros_like(whole), ops, format)
    for first, end, dtype in ((0, 33, torch.float32), (33, 130, torch.bfloat16), (130, 200, torch.float16)):
        ops.lay(parts, first, whole[first:end].to(dtype))
    assert torch.equal(parts.store, laid(whole.to(torch.float16).bfloat16(), ops, format).store)


@pytest.mark.parametrize("format", QUANTISED)
@pytest.mark.parametrize("width", [64, 517, 3072])
def test_quantised_products_are_near_those_of_floats(format: Format, width: int) -> None:
    """The share of the error in the answer's length, for normal numbers."""
    weight, x = random(200, width, dtype=torch.float32), random(50, width, dtype=torch.float32, seed=1)
    exact, found = x @ weight.T, REFERENCE.linear(x, laid(weight, format=format), None)
    assert float((found - exact).norm() / exact.norm()) < {"int8": 0.013, "int4": 0.09}[format]


@pytest.mark.parametrize("format", QUANTISED)
def test_small_integers_are_kept_exactly(format: Format) -> None:
    """Numbers of three bits whose largest is a power of two below the sign: nothing is lost in any format."""
    weight = torch.randint(-8, 8, (70, 96), generator=torch.Generator().manual_seed(0)).float()
    weight[:, ::32] = -8
    found = REFERENCE.embed(torch.arange(70), laid(weight, format=format))
    torch.testing.assert_close(found, weight, atol={"int8": 8 / 254, "int4": 1e-5}[format], rtol=0)


@pytest.mark.parametrize("body", [None, *NATIVE], ids=str)
@pytest.mark.parametrize("format", QUANTISED)
def test_damaged_numbers_reach_the_answer(body: Body | None, format: Format) -> None:
    """A NaN or an infinity must reach the logits, where it is found; rows and outputs beside it stay as they are."""
    ops = REFERENCE if body is None else ops_of(body.kernels)
    x, weight = torch.ones(4, 40), torch.ones(70, 40)
    x[0, 3], x[1, 39], x[2] = torch.nan, -torch.inf, 0
    weight[5, 7], weight[69, 0], weight[6] = torch.inf, torch.nan, 0
    found = ops.linear(x, laid(weight, ops, format), None)
    assert not found[:2].isfinite().any()
    assert not found[:, [5, 69]].isfinite().any()
    fine = found[2:].index_select(1, torch.tensor([at for at in range(70) if at not in (5, 6, 69)]))
    torch.testing.assert_close(fine, torch.tensor([[0.0], [40.0]]).expand_as(fine))
    assert torch.equal(found[2:, 6], torch.zeros(2))
