"""Paged attention, written so that a query's bits depend on its own keys alone.

A unit is up to a few queries of one row, each with its group of heads, padded to M rows: every matrix product has
the same shape. Keys are cut into blocks, and blocks into parts, at fixed absolute positions. Within a part, blocks are
added in ascending order; parts are combined in ascending order with a running maximum. A block of which a query sees
nothing adds exact zeros to it, so units of different reach can share a step.

Shapes: T rows of the step, N query heads, K key heads, G query heads of a key head, H width of a head, P slots,
U units, Q queries of a unit, M rows of a matrix product (Q x G, padded), C blocks, B positions of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stemma.device.ops.reference.kv import gather_blocks
from stemma.device.ops.reference.pieces import exact

BLOCK = 128  # keys of a block
PART = 8  # blocks of a part
TILE = 16  # rows of a matrix product are a multiple of it
_LOWEST = torch.finfo(torch.float32).min

State = tuple[Tensor, Tensor, Tensor]  # maximum [U, K, M, 1], weight [U, K, M, 1], weighted values [U, K, M, H]


@dataclass(slots=True, frozen=True)
class Step:
    """Some units look at some blocks of a part."""

    units: slice
    blocks: slice  # within the part
    veil_UC1MB: Tensor | None  # -inf where a query does not see a key, else 0; None: all see all


@dataclass(slots=True, frozen=True)
class Part:
    """Blocks that are gathered together: of one row for all units, or of one row for each unit."""

    slots_XB: Tensor  # X = rows x blocks
    rows: int
    steps: Sequence[Step]


@dataclass(slots=True, frozen=True)
class Job:
    """Units that walk through the same parts."""

    queries_UQ: Tensor  # indices into T; a unit that is not full repeats its last query
    kept: Tensor  # which of the U x Q answers are asked for
    targets: Tensor  # and where they go in T
    parts: Sequence[Part]


def unit_queries(heads: int, kv_heads: int) -> int:
    """How many queries a unit holds."""
    return max(1, TILE // (heads // kv_heads))


def attend(q_TNH: Tensor, keys_PKH: Tensor, values_PKH: Tensor, jobs: Sequence[Job], scale: float) -> Tensor:
    """Each query's mean of the values that it sees, weighted by softmax of `scale * q @ k`; computed in float32."""
    out_TNH = torch.empty_like(q_TNH)
    for job in jobs:
        q_UKMH = _tiles(q_TNH, job.queries_UQ, keys_PKH.shape[1], scale)
        states: dict[int, State] = {}  # by first unit, ascending: none begins in a part before its predecessor
        for part in job.parts:
            shape = (part.rows, -1, keys_PKH.shape[1], BLOCK, q_TNH.shape[2])
            k_UCKBH = gather_blocks(keys_PKH, part.slots_XB).view(shape)
            v_UCKBH = gather_blocks(values_PKH, part.slots_XB).view(shape)
            for step in part.steps:
                seen = _look(q_UKMH[step.units], k_UCKBH[:, step.blocks], v_UCKBH[:, step.blocks], step.veil_UC1MB)
                first = step.units.start
                states[first] = _combine(states.get(first), seen)
        answers = torch.cat([values / weight for _, weight, values in states.values()])
        out_TNH.index_copy_(0, job.targets, _rows(answers, job, q_TNH))
    return out_TNH


def _tiles(q_TNH: Tensor, queries_UQ: Tensor, kv_heads: int, scale: float) -> Tensor:
    """The queries of each unit, as [U, K, M, H] in float32."""
    units, queries = queries_UQ.shape
    group, width = q_TNH.shape[1] // kv_heads, q_TNH.shape[2]
    q_UQKGH = q_TNH.index_select(0, queries_UQ.reshape(-1)).view(units, queries, kv_heads, group, width)
    rows = queries * group
    q_UKMH = q_TNH.new_zeros(units, kv_heads, -(-rows // TILE) * TILE, width, dtype=torch.float32)
    q_UKMH[:, :, :rows].view(units, kv_heads, queries, group, width).copy_(q_UQKGH.transpose(1, 2))
    return q_UKMH.mul_(scale)


def _look(q_UKMH: Tensor, k_UCKBH: Tensor, v_UCKBH: Tensor, veil_UC1MB: Tensor | None) -> State:
    """What the queries see in these blocks."""
    units, blocks, heads, _, width = k_UCKBH.shape
    rows = q_UKMH.shape[2]
    q_XMH = q_UKMH.unsqueeze(1).expand(units, blocks, heads, rows, width).reshape(-1, rows, width)
    score_UCKMB = torch.bmm(q_XMH, k_UCKBH.reshape(-1, BLOCK, width).transpose(1, 2)).view(
        units, blocks, heads, rows, BLOCK
    )
    if veil_UC1MB is not None:
        score_UCKMB.add_(veil_UC1MB)
    maximum = score_UCKMB.amax((1, 4), keepdim=True).clamp_(min=_LOWEST)
    share_UCKMB = exact(torch.exp, score_UCKMB.sub_(maximum))
    value_UCKMH = torch.bmm(share_UCKMB.view(-1, rows, BLOCK), v_UCKBH.reshape(-1, BLOCK, width)).view(
        units, blocks, heads, rows, width
    )
    return (maximum.squeeze(1), _sum_in_order(share_UCKMB.sum(-1, keepdim=True)), _sum_in_order(value_UCKMH))


def _sum_in_order(x_UC: Tensor) -> Tensor:
    """The sum over blocks, one after the other."""
    first, *others = x_UC.unbind(1)
    for other in others:
        first = first + other
    return first


def _combine(before: State | None, now: State) -> State:
    if before is None:
        return now
    maximum = torch.maximum(before[0], now[0])
    fade, gain = exact(torch.exp, before[0] - maximum), exact(torch.exp, now[0] - maximum)
    return maximum, before[1] * fade + now[1] * gain, before[2] * fade + now[2] * gain


def _rows(answers_UKMH: Tensor, job: Job, q_TNH: Tensor) -> Tensor:
    """From units back to rows of the step."""
    units, heads, _, width = answers_UKMH.shape
    queries = job.queries_UQ.shape[1]
    group = q_TNH.shape[1] // heads
    own = answers_UKMH[:, :, : queries * group].view(units, heads, queries, group, width)
    rows_XNH = own.transpose(1, 2).reshape(units * queries, heads * group, width)
    return rows_XNH.index_select(0, job.kept).to(q_TNH.dtype)
