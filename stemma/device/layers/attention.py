"""Self-attention.

Shapes: T tokens, D model width, N query heads, K key heads, X both together, H width of a head.
"""

from torch import Tensor, nn

from stemma.device.attention.backend import Turn, TurningAttention
from stemma.device.layers.batch import ForwardBatch
from stemma.device.layers.build import Build
from stemma.device.layers.linear import Linear
from stemma.device.layers.norm import HeadNorm
from stemma.device.layers.rope import Angles


class SelfAttention(nn.Module):
    """Project, norm and rotate, attend, project."""

    def __init__(self, build: Build, layer: int):
        super().__init__()
        spec = build.spec
        self.layer = layer
        self.heads, self.kv_heads, self.width = spec.heads, spec.kv_heads, spec.head_dim
        parts = (self.heads * self.width, self.kv_heads * self.width, self.kv_heads * self.width)
        self.qkv = Linear(build, spec.hidden, *parts, bias=spec.qkv_bias)
        self.output = Linear(build, self.heads * self.width, spec.hidden, bias=spec.output_bias)
        self.head_norm = HeadNorm(build) if spec.qk_norm else None
        self.eps = spec.norm_eps
        self._norm_rotate = build.ops.norm_rotate
        self._backend = build.attention
        self._turning = build.attention if isinstance(build.attention, TurningAttention) else None

    def forward(self, x_TD: Tensor, angles: Angles, batch: ForwardBatch) -> Tensor:
        heads: Tensor = self.qkv(x_TD).view(len(x_TD), -1, self.width)
        weight_2H = None if self.head_norm is None else self.head_norm.weight
        if self._turning is None:
            out_TNH = self._attended(heads, weight_2H, angles, batch)
        else:
            turn = Turn(weight_2H, self.eps, *angles)
            out_TNH = self._turning.turn_and_attend(heads, turn, self.layer, batch.slots_T, batch.attention)
        out_TD: Tensor = self.output(out_TNH.flatten(1))
        return out_TD

    def _attended(self, x_TXH: Tensor, weight_2H: Tensor | None, angles: Angles, batch: ForwardBatch) -> Tensor:
        qk_TXH, v_TKH = x_TXH.split_with_sizes((self.heads + self.kv_heads, self.kv_heads), dim=1)
        turned_TXH = self._norm_rotate(qk_TXH, weight_2H, self.heads, self.eps, *angles)
        q_TNH, k_TKH = turned_TXH.split_with_sizes((self.heads, self.kv_heads), dim=1)
        return self._backend.forward(q_TNH, k_TKH, v_TKH, self.layer, batch.slots_T, batch.attention)
