"""Matrices.

Shapes: T tokens, I inputs, O outputs.
"""

from torch import Tensor, nn

from stemma.device.layers.build import Build
from stemma.device.weights.places import weight


class Linear(nn.Module):
    """`x @ weight.T + bias`. Several matrices of a checkpoint may stand in one, one above the other: its `parts`."""

    def __init__(self, build: Build, inputs: int, *parts: int, bias: bool = False):
        super().__init__()
        self.parts = parts
        self.weight = weight(build.dtype, sum(parts), inputs)
        self.bias = weight(build.dtype, sum(parts)) if bias else None
        self._linear, self._pack = build.ops.linear, build.ops.pack

    def pack(self) -> None:
        """Lay the matrix out for the kernel, once it is filled."""
        self.weight = nn.Parameter(self._pack(self.weight), requires_grad=False)

    def forward(self, x_TI: Tensor) -> Tensor:
        return self._linear(x_TI, self.weight, self.bias)


class Embedding(nn.Module):
    """Token ids to vectors."""

    def __init__(self, build: Build):
        super().__init__()
        self.weight = weight(build.dtype, build.spec.vocab_size, build.spec.hidden)
        self._embed, self._pack = build.ops.embed, build.ops.pack

    def pack(self) -> None:
        """Lay the table out as a matrix is: it may be the head as well."""
        self.weight = nn.Parameter(self._pack(self.weight), requires_grad=False)

    def forward(self, tokens_T: Tensor) -> Tensor:
        return self._embed(tokens_T, self.weight)
