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
from stemma.device.ops.inputs import Inputs, Ints
from stemma.device.worker.rows import Parts, RowTable


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


def forward_batch(inputs: Inputs, parts: Parts, rows: RowTable, attention: AttentionBackend) -> ForwardBatch:
    """The tokens of the plan's rows side by side, in its order."""
    spans = Spans(parts.start_N, parts.count_N, parts.row_N, rows.pages_RP)
    return ForwardBatch(inputs.tokens_T, inputs.positions_T, inputs.slots_T, attention.plan(spans))


def asked_at(inputs: Inputs, places: Places) -> Tensor:
    """Which of the step's tokens are followed by these places."""
    return torch.from_numpy(inputs.zero_N[places.part_S] + places.position_S - 1)
