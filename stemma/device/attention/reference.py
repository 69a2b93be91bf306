"""Attention by the reference op: which units look at which blocks.

Shapes: see ops/reference/attention.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import Kernels
from stemma.core.config.model import ModelSpec
from stemma.device.attention.backend import AttentionPlan, Ints, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.ops.reference.attention import BLOCK, PART, TILE, Job, Part, Step, attend, unit_queries
from stemma.device.ops.reference.kv import write_slots

MOST_TASKS = 32  # (unit, block) pairs of one step: bounds the memory


@dataclass(slots=True, frozen=True)
class ReferencePlan:
    """The jobs of a step, one list for each width of window that the model's layers have."""

    jobs: dict[int, list[Job]]
    inputs: tuple[Tensor, ...] = ()


@dataclass(slots=True, frozen=True)
class _Row:
    """A span, where its tokens stand in the step, and the slot of each of its positions."""

    start: int
    count: int
    token: int
    slots: Tensor  # of positions [0, whole parts); past the end: the null page

    @property
    def end(self) -> int:
        return self.start + self.count

    def blocks(self, part: int, count: int) -> Tensor:
        """The slots of a part's first blocks."""
        return self.slots.view(-1, BLOCK)[part * PART : part * PART + count]

    def part_range(self, window: int) -> tuple[int, int]:
        """Parts of which some query of this row may see something."""
        first = max(0, self.start - window + 1) if window else 0
        return first // (PART * BLOCK), ceil_div(self.end, PART * BLOCK)


class ReferenceAttention:
    """Plain torch on whole blocks. Rows with one unit share their steps; a long row gathers each block once."""

    def __init__(self, spec: ModelSpec, pool: KVPool, kernels: Kernels):
        self.pool = pool
        self.windows = spec.windows
        self.queries = unit_queries(spec.heads, spec.kv_heads)
        self.group = spec.heads // spec.kv_heads
        self.scale = spec.head_dim**-0.5

    def plan(self, spans: Spans) -> AttentionPlan:
        rows, token = [], 0
        for start, count, row in zip(spans.start_N, spans.count_N, spans.row_N, strict=True):
            rows.append(_Row(start, count, token, self._slots(start + count, spans.pages_RP[row])))
            token += count
        return ReferencePlan({window: list(self._jobs(rows, window)) for window in dict.fromkeys(self.windows)})

    def forward(
        self, q_TNH: Tensor, k_TKH: Tensor, v_TKH: Tensor, layer: int, slots_T: Tensor, plan: AttentionPlan
    ) -> Tensor:
        if not isinstance(plan, ReferencePlan):
            raise Bug(f"{type(plan).__name__} is the plan of another attention backend")
        keys_PKH, values_PKH = self.pool.keys[layer], self.pool.values[layer]
        write_slots(keys_PKH, slots_T, k_TKH)
        write_slots(values_PKH, slots_T, v_TKH)
        return attend(q_TNH, keys_PKH, values_PKH, plan.jobs[self.windows[layer]], self.scale)

    def _slots(self, end: int, pages_P: Ints) -> Tensor:
        size = self.pool.page_size
        firsts = torch.from_numpy(pages_P[: ceil_div(end, size)]) * size
        slots = (firsts.unsqueeze(1) + torch.arange(size)).flatten()[:end]
        return torch.nn.functional.pad(slots, (0, -end % (PART * BLOCK)), value=self.pool.null_slot)

    def _jobs(self, rows: list[_Row], window: int) -> Iterator[Job]:
        short = [row for row in rows if row.count <= self.queries]
        for row in rows:
            if row.count > self.queries:
                yield self._long_job(row, window)

        def reach(row: _Row) -> tuple[tuple[int, int], int]:
            return row.part_range(window), row.end

        for (first, last), same in groupby(sorted(short, key=reach), key=lambda row: row.part_range(window)):
            together = list(same)
            most = max(1, MOST_TASKS // min(PART, self._blocks(together[-1], first)))
            for at in range(0, len(together), most):
                yield self._short_job(together[at : at + most], range(first, last), window)

    def _blocks(self, row: _Row, part: int) -> int:
        """How many blocks from the beginning of a part the row has."""
        return min(PART, ceil_div(row.end - part * PART * BLOCK, BLOCK))

    def _long_job(self, row: _Row, window: int) -> Job:
        """One row, several units: a part is gathered once, and each unit looks at what it can see of it."""
        units = ceil_div(row.count, self.queries)
        place_UQ = torch.arange(units * self.queries).clamp_(max=row.count - 1).view(units, self.queries)
        parts = []
        for part in range(*row.part_range(window)):
            steps = []
            for unit, place_Q in enumerate(place_UQ):
                low = row.start + unit * self.queries
                high = min(low + self.queries, row.end)
                oldest = max(0, low - window + 1) if window else 0
                begin, end = max(part * PART, oldest // BLOCK), min(part * PART + PART, ceil_div(high, BLOCK))
                if begin < end:
                    veil = self._veil(place_Q.unsqueeze(0) + row.start, range(low, high), range(begin, end), window)
                    steps.append(Step(slice(unit, unit + 1), slice(begin - part * PART, end - part * PART), veil))
            parts.append(Part(row.blocks(part, self._blocks(row, part)), 1, steps))
        own = torch.arange(row.count)
        return Job(place_UQ + row.token, own, own + row.token, parts)

    def _short_job(self, rows: list[_Row], span: range, window: int) -> Job:
        """Several rows of one unit each, side by side; `rows` are sorted by their ends."""
        place_UQ = torch.arange(self.queries).clamp(max=torch.tensor([[row.count - 1] for row in rows]))
        starts_U1, tokens_U1 = torch.tensor([[row.start, row.token] for row in rows]).unsqueeze(2).unbind(1)
        reach = range(min(row.start for row in rows), rows[-1].end)
        parts = []
        for part in span:
            blocks = self._blocks(rows[-1], part)
            slots_XB = torch.cat([row.blocks(part, blocks) for row in rows])
            veil = self._veil(place_UQ + starts_U1, reach, range(part * PART, part * PART + blocks), window)
            parts.append(Part(slots_XB, len(rows), [Step(slice(0, len(rows)), slice(0, blocks), veil)]))
        kept = torch.cat([torch.arange(row.count) + at * self.queries for at, row in enumerate(rows)])
        targets = torch.cat([torch.arange(row.count) + row.token for row in rows])
        return Job(place_UQ + tokens_U1, kept, targets, parts)

    def _veil(self, position_UQ: Tensor, reach: range, blocks: range, window: int) -> Tensor | None:
        """What hides keys of these blocks from queries at these positions, all of them within `reach`."""
        keys = range(blocks.start * BLOCK, blocks.stop * BLOCK)
        if keys[-1] <= reach[0] and (not window or keys[0] > reach[-1] - window):
            return None
        distance_UQCB = position_UQ[:, :, None, None] - torch.arange(keys.start, keys.stop).view(-1, BLOCK)
        hidden_UQCB = distance_UQCB < 0
        if window:
            hidden_UQCB |= distance_UQCB >= window
        veil_UCQB = torch.zeros(hidden_UQCB.shape).masked_fill_(hidden_UQCB, -torch.inf).transpose(1, 2)
        veil_UCMB = veil_UCQB.repeat_interleave(self.group, dim=2)
        return torch.nn.functional.pad(veil_UCMB, (0, 0, 0, -veil_UCMB.shape[2] % TILE)).unsqueeze(2)
