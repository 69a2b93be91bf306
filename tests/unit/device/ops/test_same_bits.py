"""A row's bits depend on that row alone: every op, at odd widths, at every place of a tile, with 1 and 2 threads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stemma.device.ops.reference.activation import FUNCTIONS, gated
from stemma.device.ops.reference.linear import TILE, embed, linear
from stemma.device.ops.reference.norm import add_rms_norm, rms_norm
from stemma.device.ops.reference.pieces import exact
from stemma.device.ops.reference.rope import rotate
from tests.matrices import laid

WIDTHS = (80, 100, 517, 4097)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CROWDS = (1, 2, 3, TILE - 1, TILE, TILE + 1, 3 * TILE + 5)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def places(rows: int) -> list[int]:
    """Every place of a single tile, and the places around the borders of several."""
    return list(range(rows)) if rows == TILE else sorted({0, rows - 1})


def assert_alone_is_like_crowded(op: Callable[[Tensor], Tensor], row: Tensor) -> None:
    """`op` maps rows to rows. Puts `row` at all places among other rows and compares bits."""
    torch.set_num_threads(1)
    expected = op(row.unsqueeze(0))[0]
    others = random(CROWDS[-1], *row.shape, dtype=row.dtype, seed=9)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows in CROWDS:
            for place in places(rows):
                crowd = others[:rows].clone()
                crowd[place] = row
                assert torch.equal(op(crowd)[place], expected), f"place {place} of {rows}, {threads} threads"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("has_bias", [False, True])
def test_linear(dtype: torch.dtype, width: int, has_bias: bool) -> None:
    weight = laid(random(97, width, dtype=dtype, seed=1))
    bias = random(97, dtype=dtype, seed=2) if has_bias else None
    assert_alone_is_like_crowded(lambda x: linear(x, weight, bias), random(width, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("outputs", WIDTHS)
def test_linear_with_many_outputs(dtype: torch.dtype, outputs: int) -> None:
    weight = laid(random(outputs, 64, dtype=dtype, seed=1))
    assert_alone_is_like_crowded(lambda x: linear(x, weight, None), random(64, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_norms(dtype: torch.dtype, width: int) -> None:
    weight = random(width, dtype=dtype, seed=1)
    assert_alone_is_like_crowded(lambda x: rms_norm(x, weight, 1e-6), random(width, dtype=dtype))
    assert_alone_is_like_crowded(lambda x: add_rms_norm(x, x * 2, weight, 1e-6)[0], random(width, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gated_activations(dtype: torch.dtype, width: int, activation: str) -> None:
    assert_alone_is_like_crowded(lambda x: gated(x, activation), random(2 * width, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [10, 64, 80])
def test_rotate(dtype: torch.dtype, width: int) -> None:
    cos, sin = random(1, 5, seed=1).cos(), random(1, 5, seed=2).sin()
    assert_alone_is_like_crowded(
        lambda x: rotate(x, cos, sin, torch.zeros(len(x), dtype=torch.int64)), random(3, width, dtype=dtype)
    )


@pytest.mark.parametrize("function", [torch.exp, torch.cos, torch.sin])
def test_a_function_of_an_element_does_not_depend_on_where_it_stands(function: Callable[[Tensor], Tensor]) -> None:
    x = random(100_003)
    expected = torch.cat([exact(function, piece) for piece in torch.split(x, 1009)])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert torch.equal(exact(function, x), expected)
        assert torch.equal(exact(function, x[1:].view(3, -1, 2)).flatten(), expected[1:])


def test_the_ops_compute_what_their_names_say() -> None:
    """Against float64 formulas."""
    x, weight, bias = random(21, 80), random(30, 80, seed=1), random(30, seed=2)
    scale, wide = random(80, seed=3), x.double()
    torch.testing.assert_close(linear(x, laid(weight), bias), (wide @ weight.double().T + bias).float())
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale
    torch.testing.assert_close(rms_norm(x, scale, 1e-6), expected.float())
    normed, added = add_rms_norm(x, 2 * x, scale, 1e-6)
    torch.testing.assert_close(added, 3 * x)
    torch.testing.assert_close(normed, rms_norm(3 * x, scale, 1e-6))
    gate, up = wide.chunk(2, dim=-1)
    torch.testing.assert_close(gated(x, "silu"), (gate / (1 + (-gate).exp()) * up).float())
    assert torch.equal(embed(torch.tensor([3, 0, 3]), laid(x)), x[[3, 0, 3]])


def test_rotation_is_multiplication_by_a_complex_number() -> None:
    x = random(6, 2, 12)
    angles, positions = torch.outer(torch.arange(40.0), torch.tensor([1.0, 0.3, 0.1, 0.01])), [0, 1, 5, 2, 39, 7]
    turned = rotate(x, angles.cos(), angles.sin(), torch.tensor(positions))
    pairs = torch.complex(x[..., :4], x[..., 4:8]) * torch.polar(torch.ones(()), angles[positions].unsqueeze(1))
    torch.testing.assert_close(turned[..., :8], torch.cat([pairs.real, pairs.imag], -1))
    assert torch.equal(turned[..., 8:], x[..., 8:])
