"""What every op in Triton is held to: near the reference, and the same bits in any company."""

from collections.abc import Callable

import torch
from torch import Tensor

from stemma.device.ops.table import Ops, ops_of

REFERENCE, TRITON = ops_of("reference"), ops_of("triton")
DTYPES = (torch.float32, torch.bfloat16)
CROWDS = (1, 2, 3, 5)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal but for a rounding or two of their type."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    share = 2e-6 if found.dtype == torch.float32 else 2**-7
    scale = float(expected.float().abs().max())
    torch.testing.assert_close(found.float(), expected.float(), atol=share * scale, rtol=0)


def assert_like_the_reference(op: Callable[[Ops, Tensor], Tensor], x: Tensor) -> None:
    """Near the reference; rows of any crowd have the bits that they have alone."""
    alone = torch.cat([op(TRITON, x[at : at + 1]) for at in range(len(x))])
    assert_near(alone, op(REFERENCE, x))
    for rows in CROWDS:
        assert torch.equal(op(TRITON, x[-rows:]), alone[-rows:]), f"{rows} rows"
