"""Launches worth compiling: bodies at the shapes of real models, on tensors without memory.

Shapes: T rows of a step, D model width (4096: Qwen3-8B).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stemma.device.ops.table import ops_of

OPS = ops_of("triton")
WIDTH = 4096
BF16 = torch.bfloat16


def nothing(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    """A tensor that only has a shape."""
    return torch.empty(shape, dtype=dtype, device="meta")


def norm() -> None:
    x_TD = nothing(256, WIDTH)
    OPS.add_rms_norm(x_TD, x_TD, nothing(WIDTH), 1e-6)
    OPS.add_rms_norm(x_TD, None, nothing(WIDTH), 1e-6)


CASES: dict[str, Callable[[], None]] = {
    "norm": norm,
}
