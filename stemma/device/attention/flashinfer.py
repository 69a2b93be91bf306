"""Attention by FlashInfer, where it is installed. It was never run here: only its calls are tested.

Its planner balances the whole step, so a row's bits may depend on its neighbours and on the cut into steps: whoever
asks for it gives up "same bytes".

Shapes: T tokens of the step, N rows of the step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from flashinfer import BatchPrefillWithPagedKVCacheWrapper as Wrapper
from torch import Tensor

from stemma.core.base.errors import Bug, ConfigError
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.attention.backend import AttentionPlan, Ints, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.ops.triton.kv import write

WORKSPACE_BYTES = 128 << 20  # of each wrapper


@dataclass(slots=True, frozen=True)
class FlashInferPlan:
    """The wrappers hold it all: one for each width of window."""

    inputs: tuple[Tensor, ...] = ()


class FlashInferAttention:
    """One wrapper, that of prompts with a paged cache, for any mixture of decodes and chunks. A plan voids the last."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels):
        if pool.keys[0].dtype not in (torch.bfloat16, torch.float16):
            raise ConfigError(
                f"FlashInfer is given no cache of {pool.keys[0].dtype}; take triton, or a cache of 16 bits"
            )
        self.pool = pool
        self.spec = spec
        self._pages = -1, pool.page_size, spec.kv_heads, spec.head_dim
        self._wrappers = {
            window: Wrapper(torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=pool.keys[0].device), "NHD")
            for window in dict.fromkeys(spec.windows)
        }

    def plan(self, spans: Spans) -> FlashInferPlan:
        size, end_N = self.pool.page_size, spans.start_N + spans.count_N
        pages_N = -(-end_N // size)
        table_NP = spans.pages_RP[spans.row_N]
        for window, wrapper in self._wrappers.items():
            wrapper.plan(
                _sums(spans.count_N),
                _sums(pages_N),
                self._ints(table_NP[np.arange(table_NP.shape[1]) < pages_N[:, None]]),
                torch.from_numpy((end_N - (pages_N - 1) * size).astype(np.int32)),
                self.spec.heads,
                self.spec.kv_heads,
                self.spec.head_dim,
                size,
                causal=True,
                sm_scale=self.spec.head_dim**-0.5,
                window_left=window - 1,  # keys before the query's own; -1: all
                q_data_type=self.pool.keys[0].dtype,
                kv_data_type=self.pool.keys[0].dtype,
            )
        return FlashInferPlan()

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        write(self.pool.keys[layer], self.pool.values[layer], slots_T, k_TKH, v_TKH)
        return self.attend(q_TNH, layer, plan)

    def attend(self, q_TNH: Tensor, layer: int, plan: AttentionPlan) -> Tensor:
        """The same, where keys and values are in the pool already."""
        if not isinstance(plan, FlashInferPlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        cache = keys.view(self._pages), values.view(self._pages)
        out_TNH: Tensor = self._wrappers[self.spec.windows[layer]].run(q_TNH.contiguous(), cache)
        return out_TNH

    def _ints(self, numbers: Ints) -> Tensor:
        return torch.from_numpy(numbers.astype(np.int32)).to(self.pool.keys[0].device)


def _sums(numbers_N: Ints) -> Tensor:
    """0, then the sum up to each; its planner reads them on the host."""
    return torch.from_numpy(np.concatenate(([0], np.cumsum(numbers_N))).astype(np.int32))
