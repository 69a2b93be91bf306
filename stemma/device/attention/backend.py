"""The seam between models and attention kernels.

Shapes: N rows of a step, R rows that sit, P pages.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.base.registry import Registry
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.kv.pool import KVPool

Ints = NDArray[np.int64]


class Spans(NamedTuple):
    """Positions [start, start + count) of some rows are computed in this step, in the order of its tokens."""

    packed: bytes  # as they came (core/types/step.py)
    pages_RP: Ints  # page numbers by row; they cover at least positions [0, start + count)

    @property
    def row_N(self) -> Ints:
        """Whose pages they lie on."""
        return self._table_N4[:, 0]

    @property
    def start_N(self) -> Ints:
        return self._table_N4[:, 1]

    @property
    def count_N(self) -> Ints:
        return self._table_N4[:, 2]

    @property
    def _table_N4(self) -> Ints:
        return np.frombuffer(self.packed, np.int64).reshape(-1, 4)


class AttentionPlan(Protocol):
    """What a backend worked out for one step, once for all layers. Only its own backend looks inside."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What its native calls read, in one order."""


class AttentionBackend(Protocol):
    """Causal attention over the pages of a pool.

    Every backend promises: a query's numbers depend on its own row alone, not on page numbers, neighbours, or the cut
    into steps.
    """

    def plan(self, spans: Spans) -> AttentionPlan:
        """Prepare a step. The pages are read again when it is computed."""
        ...

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        """Write keys and values into the pool at `slots_T`, then attend. Shape of the answer: that of q."""
        ...


class StaticPlan(AttentionPlan, Protocol):
    """A plan whose memory outlives a step. Rows behind the last have a count of 0."""

    @property
    def spans_R3(self) -> Tensor:
        """Start, count, row of the page table; in the order of the step's tokens."""


@runtime_checkable
class CapturedAttention(AttentionBackend, Protocol):
    """A backend that works out a step on the device, so that a graph may hold all of it."""

    def static_plan(self, rows: int, tokens: int, pages_RP: Tensor) -> StaticPlan:
        """Room for any step of so many rows and tokens on these pages. Its spans are empty."""
        ...

    def lay_out(self, plan: StaticPlan) -> None:
        """Work out who looks at what, from the plan's spans: ahead of a step's first layer."""


class Turn(NamedTuple):
    """What is done to heads between projection and attention: the arguments of ops.norm_rotate."""

    weight_2H: Tensor | None
    eps: float
    cos_PR: Tensor
    sin_PR: Tensor
    positions_T: Tensor


@runtime_checkable
class TurningAttention(AttentionBackend, Protocol):
    """A backend that turns heads itself, on their way into the pool."""

    def turn_and_attend(self, x_TXH: Tensor, turn: Turn, layer: int, slots_T: Tensor, plan: AttentionPlan) -> Tensor:
        """`forward` of projected heads: those of queries, of keys, of values."""
        ...


class AttentionMaker(Protocol):
    """How a backend is built: it reads the model's shapes, and owns nothing but its view of the pool."""

    def __call__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels) -> AttentionBackend: ...


ATTENTION: Registry[AttentionMaker] = Registry(
    "attention backend",
    {
        "paged": "stemma.device.attention.native:NativeAttention",
        "triton": "stemma.device.attention.triton:TritonAttention",
        "flash": "stemma.device.attention.flash:FlashAttention",
        "flashinfer": "stemma.device.attention.flashinfer:FlashInferAttention",
        "reference": "stemma.device.attention.reference:ReferenceAttention",
    },
)
