"""Feed-forward layers.

Shapes: T tokens, D model width.
"""

from torch import Tensor, nn

from stemma.device.layers.build import Build
from stemma.device.layers.linear import Linear


class GatedMLP(nn.Module):
    """`down(activation(gate) * up)`."""

    def __init__(self, build: Build):
        super().__init__()
        spec = build.spec
        self.gate_up = Linear(build, spec.hidden, spec.intermediate, spec.intermediate, bias=spec.mlp_bias)
        self.down = Linear(build, spec.intermediate, spec.hidden, bias=spec.mlp_bias)
        self._gated = build.ops.gated
        self._activation = spec.activation

    def forward(self, x_TD: Tensor) -> Tensor:
        out_TD: Tensor = self.down(self._gated(self.gate_up(x_TD), self._activation))
        return out_TD
