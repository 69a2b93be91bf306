"""Attention by the native op: one call writes keys and values, and attends.

Shapes: T tokens of the step, N query heads, K key heads, H width of a head.
"""

from array import array
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.core.types.step import SPAN_BYTES
from stemma.device.attention.backend import AttentionPlan, Ints, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.ops.cpu.bodies import side_by_side
from stemma.device.ops.cpu.library import empty, load


@dataclass(slots=True, frozen=True)
class NativePlan:
    """Who looks at what, for every width of window (ops/cpu/attention.h). Holds addresses of the spans' pages."""

    words: Tensor
    pages_RP: Ints  # keeps them alive

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.words,)


class NativeAttention:
    """Blocks of 64 keys at fixed positions, in ascending order; rows that begin with the same pages read them once."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels):
        self.pool = pool
        self.windows = spec.windows
        self.scale = spec.head_dim**-0.5
        self._heads = spec.heads // spec.kv_heads, spec.kv_heads
        self._widths = array("q", dict.fromkeys(spec.windows))
        self._library = load(kernels)
        self._sit(4096, np.empty((0, 0), np.int64))

    def _sit(self, capacity: int, pages_RP: Ints) -> None:
        """Make room for the plan of one step on these pages. The next one is written over it."""
        words = torch.empty(capacity, dtype=torch.int64)
        addresses = words.data_ptr(), capacity, pages_RP.ctypes.data, self._widths.buffer_info()[0]
        sizes = pages_RP.shape[1], len(self._widths), self.pool.page_size, *self._heads
        self._desk = array("q", (*addresses, *sizes))
        self._at = self._desk.buffer_info()[0]
        self._capacity, self._needed = capacity, np.asarray(words).data
        self._plan = NativePlan(words, pages_RP)

    def plan(self, spans: Spans) -> AttentionPlan:
        if spans.pages_RP is not self._plan.pages_RP:
            self._sit(self._capacity, spans.pages_RP)
        while True:
            rows = len(spans.packed) // SPAN_BYTES
            self._library.plan_attention.run(self._at, spans.packed, rows, torch.get_num_threads())
            if self._needed[0] <= self._capacity:
                return self._plan
            self._sit(2 * self._needed[0], spans.pages_RP)

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        if not isinstance(plan, NativePlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        q_TNH, k_TKH, v_TKH = side_by_side(q_TNH), side_by_side(k_TKH), side_by_side(v_TKH)
        tokens, heads, width = q_TNH.shape
        out_TNH = empty(tokens, heads, width, dtype=q_TNH.dtype)
        tensors = out_TNH, q_TNH, k_TKH, v_TKH, keys, values, slots_T, plan.words
        strides = q_TNH.stride(0), k_TKH.stride(0), v_TKH.stride(0)
        sizes = heads, k_TKH.shape[1], width, self.pool.page_size
        window = self.windows[layer]
        attend = self._library.attend[q_TNH.dtype, keys.dtype]
        attend(*tensors, tokens, *strides, *sizes, self._widths.index(window), window, self.scale)
        return out_TNH
