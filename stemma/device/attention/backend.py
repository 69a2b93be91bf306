"""The seam between models and attention kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from stemma.core.base.registry import Registry
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.kv.pool import KVPool


@dataclass(slots=True, frozen=True)
class Span:
    """Positions [start, start + count) of one row are computed in this step."""

    start: int
    count: int
    pages: Tensor  # int64 page numbers that cover at least positions [0, start + count)


class AttentionPlan(Protocol):
    """What a backend worked out for one step, once for all layers. Only its own backend looks inside."""


class AttentionBackend(Protocol):
    """Causal attention over the pages of a pool.

    Every backend promises: a query's numbers depend on its own row alone, not on page numbers, neighbours, or the cut
    into steps.
    """

    def plan(self, spans: Sequence[Span]) -> AttentionPlan:
        """Prepare a step; spans stand in the order of its tokens."""
        ...

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        """Write keys and values into the pool at `slots_T`, then attend. Shape of the answer: that of q."""
        ...


class AttentionMaker(Protocol):
    """How a backend is built: it reads the model's shapes, and owns nothing but its view of the pool."""

    def __call__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels) -> AttentionBackend: ...


ATTENTION: Registry[AttentionMaker] = Registry(
    "attention backend",
    {
        "paged": "stemma.device.attention.native:NativeAttention",
        "reference": "stemma.device.attention.reference:ReferenceAttention",
    },
)
