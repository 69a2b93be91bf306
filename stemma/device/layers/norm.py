"""Norms.

Shapes: T tokens, D width that is normalised.
"""

from torch import Tensor, nn

from stemma.device.layers.build import Build
from stemma.device.weights.places import weight


class RMSNorm(nn.Module):
    """Root-mean-square norm of `x + skip`; that sum comes back as the next skip."""

    def __init__(self, build: Build, width: int):
        super().__init__()
        self.weight = weight(build.dtype, width)
        self.eps = build.spec.norm_eps
        self._norm = build.ops.add_rms_norm

    def forward(self, x_TD: Tensor, skip_TD: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._norm(x_TD, skip_TD, self.weight, self.eps)


class HeadNorm(nn.Module):
    """Weights of the norm of each head: one for queries, and behind it one for keys."""

    def __init__(self, build: Build):
        super().__init__()
        spec = build.spec
        self.parts = (spec.head_dim, spec.head_dim)
        self.weight = weight(build.dtype, sum(self.parts))
