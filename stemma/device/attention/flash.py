"""Attention by FlashAttention 3, where it is installed. It was never run here: only its calls are tested.

It chooses its splits by the whole step, so a row's bits may depend on its neighbours and on the cut into steps: whoever
asks for it gives up "same bytes".

Shapes: T tokens of the step, N rows of the step, P pages of a row.
"""

from dataclasses import dataclass

import numpy as np
import torch
from flash_attn_interface import flash_attn_with_kvcache
from torch import Tensor

from stemma.core.base.errors import Bug, ConfigError
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.attention.backend import AttentionPlan, Ints, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.ops.triton.kv import write


@dataclass(slots=True, frozen=True)
class FlashPlan:
    """What its kernel reads; all int32."""

    first_N1: Tensor  # where each row's tokens begin, and where the last one's end
    end_N: Tensor  # keys of each row
    pages_NP: Tensor
    most_queries: int

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.first_N1, self.end_N, self.pages_NP


class FlashAttention:
    """One call for any mixture of decodes and chunks, in 16 bits."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels):
        if pool.keys[0].dtype not in (torch.bfloat16, torch.float16):
            raise ConfigError(
                f"FlashAttention reads no cache of {pool.keys[0].dtype}; take triton, or a cache of 16 bits"
            )
        self.pool = pool
        self.windows = spec.windows
        self._scale = spec.head_dim**-0.5
        self._pages = -1, pool.page_size, spec.kv_heads, spec.head_dim

    def plan(self, spans: Spans) -> FlashPlan:
        device = self.pool.keys[0].device
        end_N = spans.start_N + spans.count_N
        pages = -(-int(end_N.max()) // self.pool.page_size)
        return FlashPlan(
            first_N1=_ints(np.concatenate(([0], np.cumsum(spans.count_N))), device),
            end_N=_ints(end_N, device),
            pages_NP=_ints(spans.pages_RP[spans.row_N, :pages], device),
            most_queries=int(spans.count_N.max()),
        )

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        write(self.pool.keys[layer], self.pool.values[layer], slots_T, k_TKH, v_TKH)
        return self.attend(q_TNH, layer, plan)

    def attend(self, q_TNH: Tensor, layer: int, plan: AttentionPlan) -> Tensor:
        """The same, where keys and values are in the pool already."""
        if not isinstance(plan, FlashPlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        keys, values, window = self.pool.keys[layer], self.pool.values[layer], self.windows[layer]
        out_TNH: Tensor = flash_attn_with_kvcache(
            q_TNH,
            keys.view(self._pages),
            values.view(self._pages),
            cache_seqlens=plan.end_N,
            page_table=plan.pages_NP,
            cu_seqlens_q=plan.first_N1,
            max_seqlen_q=plan.most_queries,
            softmax_scale=self._scale,
            causal=True,
            window_size=(window - 1, 0) if window else (-1, -1),  # keys before the query's own, and behind it
        )
        return out_TNH


def _ints(numbers: Ints, device: torch.device) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int32)).to(device)
