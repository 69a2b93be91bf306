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
from stemma.device.ops.inputs import Inputs, Places
from stemma.device.ops.table import ops_of
from stemma.device.worker.inputs import forward_batch, scored_places
from stemma.device.worker.native_sampler import NativeSampler
from stemma.device.worker.passes import passes_of
from stemma.device.worker.pending import settled
from stemma.device.worker.rows import RowTable
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
        self._pool = KVPool(config.model, cache.pages, cache.page_size, getattr(torch, device.kv_dtype))
        self._attention = ATTENTION[device.attention](config.model, self._pool, device.kernels)
        self._rows = RowTable(config.schedule.max_running, config.context, cache.page_size, config.model.vocab_size)
        self._reader = ops_of(device.kernels).inputs(self._rows.tables, config.schedule.step_tokens)
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
        if torch.is_inference_mode_enabled():  # in the loop's own thread it always is
            return self._step(plan, masks)
        with torch.inference_mode():
            return self._step(plan, masks)

    def _step(self, plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        began = time.perf_counter()
        for copy in self._rows.copies(plan):
            self._pool.copy_page(*copy)
        self._rows.apply(plan)
        for seat in plan.seats:
            self._sampler.sit(seat.row, self._rows[seat.row])
        if not plan.spans:
            return StepResult(step=plan.step)
        inputs = self._reader.read(plan.spans)
        tokens, findings = settled(*self._computed(plan, inputs, masks))
        seconds, computed = time.perf_counter() - began, len(inputs.tokens_T)
        return StepResult(step=plan.step, tokens=tokens, findings=findings, seconds=seconds, computed=computed)

    def _computed(
        self, plan: StepPlan, inputs: Inputs, masks: Callable[[], Masks]
    ) -> tuple[bytes, list[Verdict], list[Verdict]]:
        """Draw the tokens of a step, remember them for the next one, and score prompts."""
        self._passes.forward(forward_batch(inputs, plan, self._rows, self._attention))
        draws = self._judged(inputs.drawn, partial(self._sampler.drawn, masks=masks()))
        tokens = self._reader.keep([verdict.tokens_S for verdict in draws])
        scored = scored_places(plan, self._rows)
        scores = [] if scored is None else self._judged(scored, self._sampler.scored)
        return tokens, draws, scores

    def _judged(self, places: Places, judge: Judge) -> list[Verdict]:
        """The logits of all places go before the judge, a few at a time: a long prompt's would be gigabytes."""
        count = len(places.row_S)
        if 0 < count <= HEAD_ROWS:
            return [judge(places, self._passes.logits(places.asked_S))]
        few = [places.slice(at, at + HEAD_ROWS) for at in range(0, count, HEAD_ROWS)]
        return [judge(each, self._passes.logits(each.asked_S)) for each in few]
