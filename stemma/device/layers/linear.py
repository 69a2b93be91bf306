"""Matrices.

Shapes: T tokens, I inputs, O outputs.
"""

from torch import Tensor, nn

from stemma.device.layers.build import Build
from stemma.device.ops.matrix import empty_matrix
from stemma.device.weights.places import weight


class Linear(nn.Module):
    """`x @ weight.T + bias`. Several matrices of a checkpoint may stand in one, one above the other: its `parts`."""

    def __init__(self, build: Build, inputs: int, *parts: int, bias: bool = False):
        super().__init__()
        self.parts = parts
        self.weight = empty_matrix(build.format, sum(parts), inputs, build.dtype)
        self.bias = weight(build.dtype, sum(parts)) if bias else None
        self._linear = build.ops.linear

    def forward(self, x_TI: Tensor) -> Tensor:
        return self._linear(x_TI, self.weight, self.bias)


class Embedding(nn.Module):
    """Token ids to vectors. Its table is a matrix like others: it may be the head as well."""

    def __init__(self, build: Build):
        super().__init__()
        self.weight = empty_matrix(build.format, build.spec.vocab_size, build.spec.hidden, build.dtype)
        self._embed = build.ops.embed

    def forward(self, tokens_T: Tensor) -> Tensor:
        return self._embed(tokens_T, self.weight)
