"""Feed-forward layers.

Shapes: T tokens, D model width, I width of the layer.
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
        self._gated_linear = build.ops.gated_linear
        self._activation = spec.activation

    def forward(self, x_TD: Tensor) -> Tensor:
        hidden_TI = self._gated_linear(x_TD, self.gate_up.weight, self.gate_up.bias, self._activation)
        out_TD: Tensor = self.down(hidden_TI)
        return out_TD
