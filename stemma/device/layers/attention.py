"""Self-attention.

Shapes: T tokens, D model width, N query heads, K key heads, H width of a head.
"""

from torch import Tensor, nn

from stemma.device.layers.batch import ForwardBatch
from stemma.device.layers.build import Build
from stemma.device.layers.linear import Linear
from stemma.device.layers.norm import RMSNorm


class SelfAttention(nn.Module):
    """Project, rotate, attend, project."""

    def __init__(self, build: Build, layer: int):
        super().__init__()
        spec = build.spec
        self.layer = layer
        self.heads = (spec.heads, spec.kv_heads, spec.kv_heads)
        self.width = spec.head_dim
        parts = [heads * spec.head_dim for heads in self.heads]
        self.qkv = Linear(build, spec.hidden, *parts, bias=spec.qkv_bias)
        self.output = Linear(build, spec.heads * spec.head_dim, spec.hidden, bias=spec.output_bias)
        self.query_norm = RMSNorm(build, spec.head_dim) if spec.qk_norm else None
        self.key_norm = RMSNorm(build, spec.head_dim) if spec.qk_norm else None
        self._rotate = build.rotary.rotate
        self._backend = build.attention

    def forward(self, x_TD: Tensor, batch: ForwardBatch) -> Tensor:
        q_TNH, k_TKH, v_TKH = self.qkv(x_TD).view(len(x_TD), -1, self.width).split(self.heads, dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            q_TNH, k_TKH = self.query_norm(q_TNH), self.key_norm(k_TKH)
        q_TNH = self._rotate(q_TNH, batch.positions_T)
        k_TKH = self._rotate(k_TKH, batch.positions_T)
        out_TNH = self._backend.forward(q_TNH, k_TKH, v_TKH, self.layer, batch.slots_T, batch.attention)
        out_TD: Tensor = self.output(out_TNH.flatten(1))
        return out_TD
