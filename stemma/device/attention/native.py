"""Attention by the native op: one call writes keys and values, and attends.

Shapes: T tokens of the step, N query heads, K key heads, H width of a head, S spans.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.attention.backend import AttentionPlan, Span
from stemma.device.kv.pool import KVPool
from stemma.device.ops.cpu.bodies import side_by_side
from stemma.device.ops.cpu.library import empty, load


@dataclass(slots=True, frozen=True)
class NativePlan:
    """The spans of a step: start, count, first token, and where its pages begin among all pages."""

    spans_S4: Tensor
    pages: Tensor


class NativeAttention:
    """Blocks of 64 keys at fixed positions, in ascending order; a block is read once for all queries of its head."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels):
        self.pool = pool
        self.windows = spec.windows
        self.scale = spec.head_dim**-0.5
        self._attend = load(kernels).attend

    def plan(self, spans: Sequence[Span]) -> AttentionPlan:
        rows, token, page = [], 0, 0
        for span in spans:
            rows.append((span.start, span.count, token, page))
            token += span.count
            page += len(span.pages)
        return NativePlan(torch.tensor(rows, dtype=torch.int64), torch.cat([span.pages for span in spans]))

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        if not isinstance(plan, NativePlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        q_TNH, k_TKH, v_TKH = side_by_side(q_TNH), side_by_side(k_TKH), side_by_side(v_TKH)
        tokens, heads, width = q_TNH.shape
        out_TNH = empty(tokens, heads, width, dtype=q_TNH.dtype)
        self._attend[q_TNH.dtype, keys.dtype](
            out_TNH.data_ptr(),
            q_TNH.data_ptr(),
            k_TKH.data_ptr(),
            v_TKH.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            slots_T.data_ptr(),
            plan.pages.data_ptr(),
            plan.spans_S4.data_ptr(),
            len(plan.spans_S4),
            tokens,
            q_TNH.stride(0),
            k_TKH.stride(0),
            v_TKH.stride(0),
            heads,
            k_TKH.shape[1],
            width,
            self.pool.page_size,
            self.windows[layer],
            self.scale,
            torch.get_num_threads(),
        )
        return out_TNH
