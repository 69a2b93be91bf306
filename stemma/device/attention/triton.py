"""Attention in Triton: any mixture of decodes and chunks in one launch per layer.

Bits. A query's answer depends on its own keys and values, on the types and on the shape of the model; on nothing
else: not on its neighbours in the step, on the cut of its row into steps, on page numbers, on how many programs there
are, nor on which of them looked at what, or for how many rows at once. All steps have the same blocks and splits
(ops/triton/attention.py), and rows of a tile the same instructions: a tile of Hopper's warp group, or of two that do
as it does, where rows have so many queries that keys are better read for twice as many. Between one GPU model, or one
release of Triton, and another, bits may differ.

A plan's inputs are tensors at fixed addresses. Whoever captures a graph takes `static_plan`, fills its inputs before
every replay, and captures `lay_out` ahead of the first layer.

Shapes: T tokens of the step, N query heads, K key heads, H width of a head, R rows of the step, P pages of a row,
W tiles, X programs, S states of splits.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, int32

from stemma.core.base.errors import Bug, ConfigError
from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.attention.backend import AttentionPlan, Spans, Turn
from stemma.device.kv.pool import KVPool
from stemma.device.ops.triton.attention import attend
from stemma.device.ops.triton.attention_plan import find_shared, lay_out
from stemma.device.ops.triton.heads import norm_rotate, norm_rotate_write
from stemma.device.ops.triton.kv import write
from stemma.device.ops.triton.launch import early, is_hopper

LOG2_E = 1 / math.log(2)


@dataclass(slots=True, frozen=True)
class Geometry:
    """Sizes that kernels are made for. Those above the line decide bits, those below only speed."""

    tile: int = 64  # rows of a matrix product; a warp group of Hopper multiplies 64
    block: int = 64  # keys
    least_split: int = 128  # keys, a multiple of blocks
    splits_per_octave: int = 16  # where a sixteenth of a power of two is longer, a split is as long as that
    # ---
    wide_tile: int = 0  # of steps whose rows have more queries than fit into a tile; 0: the same
    programs: int = 0  # of a tile; 0: two for each multiprocessor
    states: int = 1 << 18  # rooms for a head's part of an answer: what may be shared by programs
    least_shared: int = 1024  # keys on the same pages that rows look at together
    tiles_at_once: int = 32  # while planning


@dataclass(slots=True, frozen=True)
class Work:
    """Who looks at what, for one width of window (ops/triton/attention_plan.py)."""

    rows_R8: Tensor
    counts: Tensor
    tiles_W8: Tensor
    programs_X4: Tensor
    tokens_T3: Tensor


@dataclass(slots=True, frozen=True)
class TritonPlan:
    """A step of at most so many rows and tokens. Rows behind the last have a count of 0."""

    spans_R3: Tensor  # int32: start, count, row of the page table; in the order of the step's tokens
    pages_RP: Tensor  # int32
    works: dict[int, Work]
    shared_R: Tensor
    arrived_TN: Tensor  # zeros, between launches
    tile: int

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.spans_R3, self.pages_RP


class TritonAttention:
    """One kernel for every step. Works on tensors of a CPU too, in Triton's interpreter."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels, geometry: Geometry | None = None):
        self.pool = pool
        self.windows = spec.windows
        self.heads, self.kv_heads, self.width = spec.heads, spec.kv_heads, spec.head_dim
        self._is_int8 = pool.keys[0].dtype == torch.int8
        if self._is_int8 and self.width % 4:
            raise ConfigError(
                f"heads of {self.width} numbers in 8 bits need a width divisible by 4; take another KV dtype"
            )
        self._device = pool.keys[0].device
        group = self.heads // self.kv_heads
        geometry = geometry or geometry_of(self.width, pool.keys[0].dtype, self._device)
        self._geometry = geometry
        self._group = group
        self._tile = max(geometry.tile, _power(group))
        self._wide_tile = max(geometry.wide_tile, self._tile)
        self._padded = max(16, _power(self.width))
        self._programs = geometry.programs or programs_of(self._device)
        self._scale = self.width**-0.5 * LOG2_E
        self._states_SH = torch.empty(geometry.states, self.width, device=self._device)
        self._weights_S2 = torch.empty(geometry.states, 2, device=self._device)

    @property
    def bytes(self) -> int:
        """Of memory for what programs leave to each other."""
        return self._geometry.states * (self.width + 2) * 4

    def plan(self, spans: Spans) -> TritonPlan:
        """A plan of its own for one step, laid out."""
        columns = (spans.start_N, spans.count_N, np.arange(len(spans.row_N)))
        pages = ceil_div(int((spans.start_N + spans.count_N).max()), self.pool.page_size)
        pages_RP = torch.from_numpy(spans.pages_RP[spans.row_N, :pages]).to(self._device, int32)
        plan = self.static_plan(len(spans.row_N), int(spans.count_N.sum()), pages_RP)
        plan.spans_R3.copy_(torch.from_numpy(np.stack(columns, axis=1)))
        self.lay_out(plan)
        return plan

    def static_plan(self, rows: int, tokens: int, pages_RP: Tensor) -> TritonPlan:
        """Room for any step of so many rows and tokens on these pages. Its spans are empty."""
        tile = self._wide_tile if tokens > rows * (self._tile // self._group) else self._tile
        most_tiles = 2 * rows + tokens // (tile // self._group)
        programs = max(1, self._programs * self._tile // tile)

        def ints(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=int32, device=self._device)

        return TritonPlan(
            spans_R3=ints(rows, 3),
            pages_RP=pages_RP,
            works={
                window: Work(ints(rows, 8), ints(2), ints(most_tiles, 8), ints(programs, 4), ints(tokens, 3))
                for window in dict.fromkeys(self.windows)
            },
            shared_R=ints(rows),
            arrived_TN=ints(tokens, self.heads),
            tile=tile,
        )

    def lay_out(self, plan: TritonPlan) -> None:
        """Work out who looks at what, from the plan's spans: ahead of a step's first layer."""
        rows, queries = len(plan.spans_R3), plan.tile // self._group
        find_shared[(rows,)](
            plan.spans_R3,
            plan.pages_RP,
            plan.shared_R,
            plan.pages_RP.stride(0),
            QUERIES=queries,
            PAGE=self.pool.page_size,
            SHARED=self._geometry.least_shared,
            LEAST=self._geometry.least_split,
            PER_OCTAVE=self._geometry.splits_per_octave,
            PAGES=128,
        )
        for window, work in plan.works.items():
            lay_out[(1,)](
                plan.spans_R3, None if window else plan.shared_R, work.rows_R8, work.counts, work.tiles_W8,
                work.programs_X4, work.tokens_T3, rows, len(work.programs_X4), self._geometry.states,
                N=self.heads, K=self.kv_heads, QUERIES=queries, MOST_QUERIES=_power(queries), WINDOW=window,
                ROWS=_power(rows), TILES=self._geometry.tiles_at_once, PROGRAMS=_power(len(work.programs_X4)),
                num_warps=8, **self._borders,
            )  # fmt: skip

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        write(self.pool.keys[layer], self.pool.values[layer], slots_T, k_TKH, v_TKH)
        return self.attend(q_TNH, layer, plan)

    def turn_and_attend(self, x_TXH: Tensor, turn: Turn, layer: int, slots_T: Tensor, plan: AttentionPlan) -> Tensor:
        weight_2H, eps, cos_PR, sin_PR, positions_T = turn
        angles = cos_PR, sin_PR, positions_T
        turned = self.heads + self.kv_heads
        if self._is_int8:
            qk_TXH = norm_rotate(x_TXH[:, :turned], weight_2H, self.heads, eps, *angles)
            return self.forward(
                qk_TXH[:, : self.heads], qk_TXH[:, self.heads :], x_TXH[:, turned:], layer, slots_T, plan
            )
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        q_TNH = norm_rotate_write(x_TXH, weight_2H, self.heads, eps, *angles, keys, values, slots_T)
        return self.attend(q_TNH, layer, plan)

    def attend(self, q_TNH: Tensor, layer: int, plan: AttentionPlan) -> Tensor:
        """The same, where keys and values are in the pool already."""
        if not isinstance(plan, TritonPlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        if q_TNH.stride()[1:] != (self.width, 1):
            q_TNH = q_TNH.contiguous()
        out_TNH = q_TNH.new_empty(q_TNH.shape)
        work = plan.works[self.windows[layer]]
        attend[(len(work.programs_X4),)](
            q_TNH, self.pool.keys[layer], self.pool.values[layer], out_TNH,
            work.counts, work.tiles_W8, work.programs_X4, work.tokens_T3, plan.pages_RP,
            self._states_SH, self._weights_S2, plan.arrived_TN, q_TNH.stride(0), plan.pages_RP.stride(0), self._scale,
            N=self.heads, K=self.kv_heads, H=self.width, HP=self._padded,
            PAGE=self.pool.page_size, WINDOW=self.windows[layer], M=plan.tile, IS_INT8=self._is_int8,
            num_warps=8 if max(self._padded, 2 * plan.tile) > 128 else 4,
            num_stages=2, enable_fp_fusion=False, **self._borders, **early(q_TNH),
        )  # fmt: skip
        return out_TNH

    @property
    def _borders(self) -> dict[str, int]:
        geometry = self._geometry
        return {"B": geometry.block, "LEAST": geometry.least_split, "PER_OCTAVE": geometry.splits_per_octave}


def geometry_of(width: int, kv_dtype: torch.dtype, device: torch.device) -> Geometry:
    """As large as registers and shared memory hold, on AMD's too. No matrix unit multiplies float32 as it is.

    Only of Hopper is it known that a wide tile gives the same bits.
    """
    if kv_dtype == torch.float32:
        return Geometry(tile=16, block=16)
    if width > 128:
        return Geometry(tile=32 if kv_dtype == torch.int8 else 64, block=16)
    return Geometry(block=32 if kv_dtype == torch.int8 else 64, wide_tile=128 if is_hopper(device) else 0)


def programs_of(device: torch.device) -> int:
    """Two for each multiprocessor: that many fit."""
    if device.type != "cuda":
        return 4
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def _power(least: int) -> int:
    """The power of two from there on."""
    return 1 << (least - 1).bit_length()
