"""Llama and its kin: Mistral, Qwen2, Qwen3. They differ by fields of ModelSpec alone.

Shapes: T tokens of the step, S places of T, D model width, V vocabulary.
"""

from typing import ClassVar

from torch import Tensor, nn

from stemma.device.layers.attention import SelfAttention
from stemma.device.layers.batch import ForwardBatch
from stemma.device.layers.build import Build
from stemma.device.layers.linear import Embedding, Linear
from stemma.device.layers.mlp import GatedMLP
from stemma.device.layers.norm import RMSNorm
from stemma.device.layers.rope import Angles


class Block(nn.Module):
    """One layer of the stack. What it adds and what it was given travel apart, so that a norm can add them."""

    def __init__(self, build: Build, layer: int):
        super().__init__()
        self.input_norm = RMSNorm(build, build.spec.hidden)
        self.attention = SelfAttention(build, layer)
        self.middle_norm = RMSNorm(build, build.spec.hidden)
        self.mlp = GatedMLP(build)

    def forward(
        self, x_TD: Tensor, skip_TD: Tensor | None, angles: Angles, batch: ForwardBatch
    ) -> tuple[Tensor, Tensor]:
        x_TD, skip_TD = self.input_norm(x_TD, skip_TD)
        x_TD, skip_TD = self.middle_norm(self.attention(x_TD, angles, batch), skip_TD)
        return self.mlp(x_TD), skip_TD


class Llama(nn.Module):
    """A stack of blocks between an embedding and a head."""

    names: ClassVar = {
        "embedding": ("model.embed_tokens",),
        "blocks": ("model.layers",),
        "final_norm": ("model.norm",),
        "head": ("lm_head",),
        "input_norm": ("input_layernorm",),
        "attention": ("self_attn",),
        "qkv": ("q_proj", "k_proj", "v_proj"),
        "head_norm": ("q_norm", "k_norm"),
        "output": ("o_proj",),
        "middle_norm": ("post_attention_layernorm",),
        "gate_up": ("gate_proj", "up_proj"),
        "down": ("down_proj",),
    }

    def __init__(self, build: Build):
        super().__init__()
        spec = build.spec
        self.embedding = Embedding(build)
        self.blocks = nn.ModuleList(Block(build, layer) for layer in range(spec.layers))
        self.final_norm = RMSNorm(build, spec.hidden)
        self.head = None if spec.tied else Linear(build, spec.hidden, spec.vocab_size)
        self._rotary = build.rotary
        self._take, self._logits = build.ops.take, build.ops.logits

    def forward(self, batch: ForwardBatch) -> Tensor:
        x_TD: Tensor = self.embedding(batch.tokens_T)
        skip_TD: Tensor | None = None
        angles = self._rotary.angles(batch.positions_T)
        for block in self.blocks:
            x_TD, skip_TD = block(x_TD, skip_TD, angles, batch)
        hidden_TD: Tensor = self.final_norm(x_TD, skip_TD)[0]
        return hidden_TD

    def logits(self, hidden_TD: Tensor, places_S: Tensor) -> Tensor:
        head = self.head or self.embedding
        return self._logits(self._take(hidden_TD, places_S), head.weight)
