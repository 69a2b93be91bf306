"""One device, one rank: a plan goes in, tokens come out.

StepPlan ──▶ rows: who sits where ──▶ inputs ──▶ passes: logits ──▶ sampler ──▶ pending ──▶ StepResult
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stemma.core.config.engine import EngineConfig
from stemma.core.config.ledger import HEAD_ROWS
from stemma.core.types.step import Masks, StepPlan, StepResult
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from stemma.device.models.registry import load_model
from stemma.device.ops.cpu.library import load
from stemma.device.ops.inputs import Inputs
from stemma.device.ops.table import ops_of
from stemma.device.worker.inputs import Places, asked_at, drawn_places, forward_batch, scored_places
from stemma.device.worker.native_sampler import NativeSampler
from stemma.device.worker.passes import passes_of
from stemma.device.worker.pending import PendingStep
from stemma.device.worker.rows import Parts, RowTable
from stemma.device.worker.sampler import Sampler, TorchSampler, Verdict

Judge = Callable[[Places, Tensor], Verdict]


class Worker:
    """Holds the model, the pages and the rows. Plans are stepped in their order, by one thread.

    What a row gets depends on its own tokens, parameters and seed only; a plan that failed may be
    stepped again, whole or row by row.
    """

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None] | None = None):
        torch.set_num_threads(config.device.threads)
        cache, device = config.cache, config.device
        pool = KVPool(config.model, cache.pages, cache.page_size, getattr(torch, device.kv_dtype))
        self._attention = ATTENTION[device.attention](config.model, pool, device.kernels)
        self._rows = RowTable(config.schedule.max_running, config.context, cache.page_size, config.model.vocab_size)
        self._inputs = ops_of(device.kernels).inputs
        self._sampler: Sampler = (
            NativeSampler(load(device.kernels), self._rows, config.seed)
            if device.is_native
            else TorchSampler(self._rows, config.seed)
        )
        model = load_model(config, self._attention, progress)
        with torch.inference_mode():
            self._passes = passes_of(model, self._attention, config)

    def step(self, plan: StepPlan, masks: Callable[[], Masks] = Masks) -> StepResult:
        """`masks` is called when the forward pass is done, and may block."""
        began = time.perf_counter()
        with torch.inference_mode():
            parts = self._rows.apply(plan)
            for seat in plan.seats:
                self._sampler.sit(seat.row, self._rows[seat.row])
            if not plan.rows:
                return StepResult(step=plan.step, rows=())
            inputs = self._inputs(parts.table_N4, self._rows.tables, plan.tokens)
            rows = self._computed(plan, parts, inputs, masks).wait()
        seconds = time.perf_counter() - began
        return StepResult(step=plan.step, rows=rows, seconds=seconds, tokens=len(inputs.tokens_T))

    def _computed(self, plan: StepPlan, parts: Parts, inputs: Inputs, masks: Callable[[], Masks]) -> PendingStep:
        """Draw the tokens of a step, remember them for the next one, and score prompts."""
        self._passes.forward(forward_batch(inputs, parts, self._rows, self._attention))
        draws = self._judged(inputs, drawn_places(parts), partial(self._sampler.drawn, masks=masks()))
        for verdict in draws:
            self._rows.remember(verdict.places.row_S, verdict.places.position_S, verdict.tokens_S)
        scores = self._judged(inputs, scored_places(plan, self._rows), self._sampler.scored)
        return PendingStep(plan, draws, scores)

    def _judged(self, inputs: Inputs, places: Places, judge: Judge) -> list[Verdict]:
        """The logits of all places go before the judge, a few at a time: a long prompt's would be gigabytes."""
        verdicts = []
        for at in range(0, len(places.row_S), HEAD_ROWS):
            few = places.slice(at, at + HEAD_ROWS)
            verdicts.append(judge(few, self._passes.logits(asked_at(inputs, few))))
        return verdicts
