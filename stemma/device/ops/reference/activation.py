"""Gated activations.

Shapes: T rows, D model width, I width of the feed-forward layer, J twice that.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stemma.device.ops.matrix import Matrix
from stemma.device.ops.reference.linear import linear
from stemma.device.ops.reference.pieces import exact

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": partial(torch.nn.functional.gelu, approximate="tanh"),
    "relu": torch.relu,
}


def gated(gate_up_TJ: Tensor, activation: str) -> Tensor:
    """`activation(gate) * up`, where each row holds its gate, then its up."""
    gate_TI, up_TI = gate_up_TJ.chunk(2, dim=-1)
    return exact(FUNCTIONS[activation], gate_TI).mul_(up_TI)


def gated_linear(x_TD: Tensor, matrix: Matrix, bias_J: Tensor | None, activation: str) -> Tensor:
    """`gated` of a product."""
    return gated(linear(x_TD, matrix, bias_J), activation)
