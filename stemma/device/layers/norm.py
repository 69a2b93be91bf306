"""Norms.

Shapes: T tokens, D width that is normalised.
"""

from torch import Tensor, nn

from stemma.device.layers.build import Build
from stemma.device.weights.places import weight


class RMSNorm(nn.Module):
    """Root-mean-square norm, of a stream or of the sum of two."""

    def __init__(self, build: Build, width: int):
        super().__init__()
        self.weight = weight(build.dtype, width)
        self.eps = build.spec.norm_eps
        self._norm = build.ops.rms_norm
        self._add_norm = build.ops.add_rms_norm

    def forward(self, x_TD: Tensor) -> Tensor:
        return self._norm(x_TD, self.weight, self.eps)

    def add(self, x_TD: Tensor, skip_TD: Tensor) -> tuple[Tensor, Tensor]:
        """The norm of `x + skip`, and the sum."""
        return self._add_norm(x_TD, skip_TD, self.weight, self.eps)
