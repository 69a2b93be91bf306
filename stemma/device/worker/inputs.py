"""From a plan to what a model sees.

S places whose logits are wanted
"""

import numpy as np
import torch

from stemma.core.types.step import StepPlan, unpack_spans
from stemma.device.attention.backend import AttentionBackend, Spans
from stemma.device.layers.batch import ForwardBatch
from stemma.device.ops.inputs import Inputs, Places
from stemma.device.worker.rows import RowTable


def forward_batch(inputs: Inputs, plan: StepPlan, rows: RowTable, attention: AttentionBackend) -> ForwardBatch:
    """The tokens of the plan's rows side by side, in its order."""
    spans = Spans(plan.spans, rows.pages_RP)
    return ForwardBatch(inputs.tokens_T, inputs.positions_T, inputs.slots_T, attention.plan(spans))


def scored_places(plan: StepPlan, rows: RowTable) -> Places | None:
    """The prompt tokens whose log-probabilities this step yields."""
    if not plan.news or all(news.score_from < 0 for news in plan.news.values()):
        return None
    found, first = [], 0  # of the row's tokens among the step's
    for part, (row, start, count, _) in enumerate(unpack_spans(plan.spans)):
        news = plan.news.get(row)
        if news is not None and news.score_from >= 0:
            end = min(start + count, rows[row].prompt_len - 1)
            found += [(part, row, at + 1, first + at - start) for at in range(news.score_from, end)]
        first += count
    part_S, row_S, position_S, asked_S = np.array(found, np.int64).reshape(-1, 4).T
    return Places(part_S, row_S, position_S, torch.from_numpy(asked_S.copy()))
