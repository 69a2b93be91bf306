"""From a plan to what a model sees.

T tokens of the step, N rows of the plan, S places whose logits are wanted
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.step import StepPlan
from stemma.device.attention.backend import AttentionBackend, Spans
from stemma.device.layers.batch import ForwardBatch
from stemma.device.worker.rows import Ints, Parts, RowTable


class Places(NamedTuple):
    """Tokens whose logits are wanted: those computed at the position before each."""

    part_S: Ints  # which of the plan's rows
    row_S: Ints
    position_S: Ints  # of the token

    def slice(self, begin: int, end: int) -> "Places":
        return Places(*(column_S[begin:end] for column_S in self))


def drawn_places(parts: Parts) -> Places:
    """The tokens that this step draws."""
    part_S = parts.draws_N.nonzero()[0]
    return Places(part_S, parts.row_N[part_S], parts.end_N[part_S])


def scored_places(plan: StepPlan, rows: RowTable) -> Places:
    """The prompt tokens whose log-probabilities this step yields."""
    found = [
        (index, part.row, position + 1)
        for index, part in enumerate(plan.rows)
        if part.score_from >= 0
        for position in range(part.score_from, min(part.start + part.count, rows[part.row].prompt_len - 1))
    ]
    return Places(*np.array(found, np.int64).reshape(-1, 3).T)


def forward_batch(parts: Parts, rows: RowTable, attention: AttentionBackend) -> ForwardBatch:
    """The tokens of the plan's rows side by side, in its order."""
    size, count_N = rows.page_size, parts.end_N - parts.start_N
    row_T = parts.row_N.repeat(count_N)
    position_T = np.arange(len(row_T)) - _zero_at(parts).repeat(count_N)
    page_T, offset_T = np.divmod(position_T, size)
    return ForwardBatch(
        tokens_T=torch.from_numpy(rows.tokens_RC[row_T, position_T].astype(np.int64)),
        positions_T=torch.from_numpy(position_T),
        slots_T=torch.from_numpy(rows.pages_RP[row_T, page_T] * size + offset_T),
        attention=attention.plan(Spans(parts.start_N, count_N, parts.row_N, rows.pages_RP)),
    )


def asked_at(parts: Parts, places: Places) -> Tensor:
    """Which of the step's tokens are followed by these places."""
    return torch.from_numpy(_zero_at(parts)[places.part_S] + places.position_S - 1)


def _zero_at(parts: Parts) -> Ints:
    """Where position 0 of each row would stand among the step's tokens."""
    return (parts.end_N - parts.start_N).cumsum() - parts.end_N
