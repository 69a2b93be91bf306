"""Norms.

Shapes: T tokens, D width that is normalised, N query heads, K key heads, X both together, H width of a head.
"""

import torch
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

    def forward(self, x_TD: Tensor, skip_TD: Tensor) -> tuple[Tensor, Tensor]:
        return self._norm(x_TD, skip_TD, self.weight, self.eps)


class HeadNorm(nn.Module):
    """Root-mean-square norm of each head: queries by one weight, keys by another, side by side."""

    def __init__(self, build: Build):
        super().__init__()
        spec = build.spec
        self.parts = (spec.head_dim, spec.head_dim)
        self.weight = weight(build.dtype, sum(self.parts))
        self.eps = spec.norm_eps
        self._which_X = torch.tensor([0] * spec.heads + [1] * spec.kv_heads)
        self._norm = build.ops.rms_norm

    def forward(self, x_TXH: Tensor) -> Tensor:
        weight_XH = self.weight.view(2, -1).index_select(0, self._which_X)
        return self._norm(x_TXH, weight_XH, self.eps)
