"""From a plan to what a model sees.

T tokens of the step, R rows of the plan, S places whose logits are wanted
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.types.step import StepPlan
from stemma.device.attention.backend import AttentionBackend, Span
from stemma.device.layers.batch import ForwardBatch
from stemma.device.worker.rows import RowTable


class Place(NamedTuple):
    """A token whose logits are wanted: those computed at the position before it."""

    part: int  # which of the plan's rows
    position: int  # of the token


def drawn_places(plan: StepPlan) -> list[Place]:
    """The tokens that this step draws."""
    return [Place(index, part.start + part.count) for index, part in enumerate(plan.rows) if part.samples]


def scored_places(plan: StepPlan, rows: RowTable) -> list[Place]:
    """The prompt tokens whose log-probabilities this step yields."""
    return [
        Place(index, position + 1)
        for index, part in enumerate(plan.rows)
        if part.score_from >= 0
        for position in range(part.score_from, min(part.start + part.count, rows[part.row].prompt_len - 1))
    ]


def forward_batch(plan: StepPlan, places: Iterable[Place], rows: RowTable, attention: AttentionBackend) -> ForwardBatch:
    """The tokens of the plan's rows side by side, in its order."""
    size = rows.page_size
    tokens, pages, spans = [], [], []
    for part in plan.rows:
        row, end = rows[part.row], part.start + part.count
        tokens.append(row.tokens[part.start : end])
        pages.append(row.pages[part.start // size : ceil_div(end, size)])
        spans.append(Span(part.start, part.count, row.pages[: ceil_div(end, size)]))
    # Where a row's position 0 would stand among the step's tokens, and its page 0 among the step's pages.
    first_token = [at - part.start for at, part in zip(starts(tokens), plan.rows, strict=True)]
    first_page = [at - part.start // size for at, part in zip(starts(pages), plan.rows, strict=True)]
    row_T = torch.repeat_interleave(torch.tensor([part.count for part in plan.rows]))
    positions_T = torch.arange(plan.tokens) - torch.tensor(first_token)[row_T]
    pages_T = torch.cat(pages)[positions_T // size + torch.tensor(first_page)[row_T]]
    wanted_S = [first_token[place.part] + place.position - 1 for place in places]
    return ForwardBatch(
        tokens_T=torch.cat(tokens),
        positions_T=positions_T,
        slots_T=pages_T * size + positions_T % size,
        sample_at_S=torch.tensor(wanted_S, dtype=torch.int64),
        attention=attention.plan(spans),
    )


def starts(parts: list[Tensor]) -> list[int]:
    """Where each part begins when they lie one after the other."""
    return list(accumulate((len(part) for part in parts), initial=0))[:-1]
