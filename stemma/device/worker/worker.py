"""One device, one rank: a plan goes in, tokens come out.

    StepPlan ──▶ rows: who sits where ──▶ inputs: ForwardBatch ──▶ model ──▶ sampler ──▶ pending ──▶ StepResult

S places whose logits are wanted, D model width
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from stemma.core.config.engine import EngineConfig
from stemma.core.config.ledger import HEAD_ROWS
from stemma.core.types.step import Masks, StepPlan, StepResult
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from stemma.device.models.registry import load_model
from stemma.device.worker.inputs import Place, drawn_places, forward_batch, scored_places
from stemma.device.worker.pending import PendingStep
from stemma.device.worker.rows import Row, RowTable
from stemma.device.worker.sampler import Verdict, drawn, scored

Judge = Callable[[Sequence[Place], Sequence[Row], Tensor], Verdict]


class Worker:
    """Holds the model, the pages and the rows. Plans are stepped in their order, by one thread.

    What a row gets depends on its own tokens, parameters and seed only; a plan that failed may be
    stepped again, whole or row by row.
    """

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None] | None = None):
        torch.set_num_threads(config.device.threads)
        pool = KVPool(config.model, config.cache.pages, config.cache.page_size, getattr(torch, config.device.kv_dtype))
        self._attention = ATTENTION[config.device.attention](config.model, pool, config.device.kernels)
        self._model = load_model(config, self._attention, progress)
        self._rows = RowTable(config.cache.page_size, config.model.vocab_size)
        self._seed = config.seed

    def step(self, plan: StepPlan, masks: Callable[[], Masks] = dict) -> StepResult:
        """`masks` is called when the forward pass is done, and may block."""
        began = time.perf_counter()
        with torch.inference_mode():
            self._rows.apply(plan)
            rows = self.sample(plan, self.forward(plan), masks()).wait() if plan.rows else ()
        return StepResult(step=plan.step, rows=rows, seconds=time.perf_counter() - began)

    def forward(self, plan: StepPlan) -> Tensor:
        """Hidden states of the places whose logits are wanted: drawn ones first, then scored ones."""
        places = drawn_places(plan) + scored_places(plan, self._rows)
        batch = forward_batch(plan, places, self._rows, self._attention)
        return self._model.forward(batch)[batch.sample_at_S]

    def sample(self, plan: StepPlan, hidden_SD: Tensor, masks: Masks) -> PendingStep:
        """Draw the tokens of a step, remember them for the next one, and score prompts."""
        to_draw, to_score = drawn_places(plan), scored_places(plan, self._rows)
        by_part = {at: masks[part.row] for at, part in enumerate(plan.rows) if part.row in masks}
        draws = self._judged(plan, to_draw, hidden_SD[: len(to_draw)], partial(drawn, masks=by_part, seed=self._seed))
        scores = self._judged(plan, to_score, hidden_SD[len(to_draw) :], scored)
        return PendingStep(plan, draws, scores)

    def _judged(self, plan: StepPlan, places: list[Place], hidden_SD: Tensor, judge: Judge) -> list[Verdict]:
        """The logits of all places go before the judge, a few at a time: a long prompt's would be gigabytes."""
        verdicts = []
        for at in range(0, len(places), HEAD_ROWS):
            few = places[at : at + HEAD_ROWS]
            rows = [self._rows[plan.rows[place.part].row] for place in few]
            verdicts.append(judge(few, rows, self._model.logits(hidden_SD[at : at + HEAD_ROWS])))
        return verdicts
