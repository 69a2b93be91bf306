"""Every native body of every op against the reference, and a row's bits against those of the same row alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stemma.device.ops.reference.activation import FUNCTIONS
from stemma.device.ops.table import Ops, ops_of
from tests.bodies import NATIVE, Body
from tests.matrices import REFERENCE, laid

WIDTHS = (1, 10, 80, 100, 517)
CROWDS = (1, 2, 3, 5, 6, 7, 13, 50)

every_body = pytest.mark.parametrize("body", NATIVE, ids=str)
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
every_width = pytest.mark.parametrize("width", WIDTHS)


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal but for a rounding or two of their type."""
    assert found.dtype == expected.dtype
    scale = float(expected.abs().max())
    share = 2e-6 if found.dtype == torch.float32 else 2**-7
    torch.testing.assert_close(found.float(), expected.float(), atol=share * scale, rtol=0)


def assert_like_the_reference(op: Callable[[Ops, Tensor], Tensor], body: Body, x: Tensor) -> None:
    """Near the reference; and rows of any crowd on 1 and 2 threads have the bits that they have alone."""
    ops = ops_of(body.kernels)
    torch.set_num_threads(1)
    alone = torch.cat([op(ops, x[at : at + 1]) for at in range(len(x))])
    assert_near(alone, op(REFERENCE, x))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows in CROWDS:
            assert torch.equal(op(ops, x[-rows:]), alone[-rows:]), f"{rows} rows, {threads} threads"


@every_body
@every_type
@every_width
def test_add_rms_norm(body: Body, dtype: torch.dtype, width: int) -> None:
    weight = random(width, dtype=dtype, seed=1)
    for part, factor in ((0, 2), (1, 2), (0, None), (1, None)):

        def norm(ops: Ops, x: Tensor, part: int = part, factor: int | None = factor) -> Tensor:
            return ops.add_rms_norm(x, None if factor is None else x * factor, weight, 1e-6)[part]

        assert_like_the_reference(norm, body, random(CROWDS[-1], width, dtype=dtype))


@every_body
@every_type
@every_width
def test_take(body: Body, dtype: torch.dtype, width: int) -> None:
    x, places = random(CROWDS[-1], width, dtype=dtype), torch.tensor([49, 0, 7, 7])
    assert torch.equal(ops_of(body.kernels).take(x, places), x[places])


@every_body
@every_type
@pytest.mark.parametrize(("width", "turned"), [(10, 10), (64, 64), (80, 20), (128, 128)])
@pytest.mark.parametrize("is_normed", [True, False])
def test_norm_rotate(body: Body, dtype: torch.dtype, width: int, turned: int, is_normed: bool) -> None:
    weight = random(2 * width, dtype=dtype, seed=1) if is_normed else None
    angle = random(CROWDS[-1], turned // 2, dtype=torch.float32, seed=2)
    cos, sin, places = angle.cos(), angle.sin(), torch.arange(CROWDS[-1])
    assert_like_the_reference(
        # The rows of a crowd are the last ones, each at the position of its place.
        lambda ops, x: ops.norm_rotate(x[:, 1:6], weight, 3, 1e-6, cos, sin, x[:, 0, 0].long()),
        body,
        torch.cat([places.view(-1, 1, 1).expand(-1, 1, width), random(CROWDS[-1], 7, width, dtype=dtype)], dim=1),
    )


@every_body
@every_type
@every_width
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gated(body: Body, dtype: torch.dtype, width: int, activation: str) -> None:
    x = random(CROWDS[-1], 2 * width, dtype=dtype) * 4
    assert_like_the_reference(lambda ops, rows: ops.gated(rows, activation), body, x)


@every_body
@every_type
def test_extreme_numbers_pass_as_they_are(body: Body, dtype: torch.dtype) -> None:
    """A NaN or an infinity must reach the logits, where it is found: never a plausible number in its place."""
    ops = ops_of(body.kernels)
    gate = torch.tensor([torch.nan, torch.inf, -torch.inf, 100.0, -100.0, 0.0], dtype=dtype)
    found = ops.gated(torch.cat([gate, torch.ones_like(gate)]).unsqueeze(0), "silu")[0]
    assert found[0].isnan() and found[1] == torch.inf and found[2].isnan()
    assert found[3] == 100 and found[4].abs() < 1e-35 and found[5] == 0
    weight = laid(torch.ones(70, 6, dtype=dtype), ops)
    product = ops.linear(torch.stack([gate, torch.ones_like(gate)]), weight, None)
    assert product[0].isnan().all() and torch.equal(product[1], torch.full((70,), 6.0, dtype=dtype))
    normed, _ = ops.add_rms_norm(gate.unsqueeze(0), gate.unsqueeze(0), torch.ones_like(gate), 1e-6)
    assert normed.isnan().any()
