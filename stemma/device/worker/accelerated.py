"""The worker of an accelerator: a plan is queued whole, and nothing is waited for until its result is wanted.

    plan ─▶ host's rows ─▶ slot ═one copy═▶ tables, inputs, attention's plan ─▶ model ─▶ taken   graph of (rows, tokens)
                                      masks ═copy═▶ head ─▶ draws ─▶ tables, found               graph of (rows)
                                            found ═copy═▶ slot, mark                             Flight.wait

The tokens that a step draws go into the tables where the next one reads them: it may be queued before anyone knows.

Shapes: N rows of a step with those that fill it up, T tokens, S places, W whose log-probabilities are wanted,
R rows that sit, D model width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.core.config.buckets import bucket_of, decode_buckets, prefill_buckets, row_classes
from stemma.core.config.engine import EngineConfig
from stemma.core.types.step import NO_TOKEN, Masks, StepPlan, StepResult
from stemma.device.attention.backend import ATTENTION, AttentionPlan, CapturedAttention, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.layers.batch import ForwardBatch
from stemma.device.models.registry import load_model
from stemma.device.ops.accelerated import StepOps, step_ops
from stemma.device.ops.cpu.sampling import Drawn, Records
from stemma.device.ops.inputs import Ints, Places
from stemma.device.ops.reference.inputs import checked
from stemma.device.platforms.cuda import CudaPlatform
from stemma.device.platforms.platform import Platform
from stemma.device.worker.asks import Asks
from stemma.device.worker.device_rows import DeviceRows
from stemma.device.worker.flight import ALL_BANNED, Flight, Scored
from stemma.device.worker.graphs import Graphs, Key
from stemma.device.worker.inputs import scored_places
from stemma.device.worker.rows import RowTable
from stemma.device.worker.sampler import is_finite
from stemma.device.worker.staging import Slot, Staging, advance, fill, sheet

_ONE_ON = np.array([0, 1, 0, 0])  # from the span of a decode to the next one


class _Size(NamedTuple):
    """Of a step, filled up."""

    rows: int
    tokens: int
    is_graph: bool  # whether it is one of few sizes that come again


class _Step(NamedTuple):
    """What is known of a plan before it is written down."""

    spans_N4: Ints
    size: _Size
    target_N: Ints  # words of the tables that answers become
    computed: int  # tokens
    is_scored: bool  # whether log-probabilities of prompts are wanted
    decodes: tuple[int, bytes] | None = None  # who decodes, since who sat; None: there is something else to do
    room: int = 0  # how many more steps these rows' pages suffice for

    def next(self) -> "_Step":
        """The same rows, one token on."""
        return self._replace(spans_N4=self.spans_N4 + _ONE_ON, target_N=self.target_N + 1, room=self.room - 1)


class AcceleratedWorker:
    """Holds the model, the pages and the rows. Plans are launched in their order, by one thread.

    What a row gets depends on its own tokens, parameters and seed only; a plan whose launch failed may be launched
    again, whole or row by row.
    """

    def __init__(
        self,
        config: EngineConfig,
        progress: Callable[[int, int], None] | None = None,
        platform: Platform | None = None,
        ops: StepOps | None = None,
    ):
        device, cache, schedule, spec = config.device, config.cache, config.schedule, config.model
        platform = platform or CudaPlatform(device.device)
        self._ops = ops or step_ops()
        self._rows = RowTable(schedule.max_running, config.context, cache.page_size, spec.vocab_size)
        self._tables = DeviceRows(self._rows, platform.device)
        self._decodes = decode_buckets(schedule.max_running)
        self._prefills = prefill_buckets(schedule.step_tokens)
        self._classes = row_classes(schedule.max_running)
        most = self._decodes[-1]
        self._staging = Staging(platform, most, spec.vocab_size, schedule.depth + 1)
        self._asks = Asks(self._tables.token_addresses(), spec.vocab_size, config.seed, self._staging.upload)
        self._graphs = Graphs(platform, device.graphs)
        with torch.inference_mode(), platform.device:
            self._pool = KVPool(spec, cache.pages, cache.page_size, getattr(torch, device.kv_dtype))
            self._attention = ATTENTION[device.attention](spec, self._pool, device.kernels)
            self._is_captured = isinstance(self._attention, CapturedAttention)  # slow to ask in every step
            self._model = load_model(config, self._attention, progress)
            self._taken_ND: Tensor | None = None  # what draws look at; as wide as hidden states turn out to be
            self._every_N = torch.arange(most)
        self._last: _Step | None = None

    @property
    def captured(self) -> list[Key]:
        """What is replayed by now, in the order of first need."""
        return self._graphs.captured

    def step(self, plan: StepPlan, masks: Callable[[], Masks] = Masks) -> StepResult:
        """Launch and wait. `masks` is called when the forward pass is queued."""
        flight = self.launch(plan)
        if plan.is_masked:
            flight.sample(masks())
        return flight.wait()

    def launch(self, plan: StepPlan) -> Flight:
        """Queue a plan; its draws too, unless masks are to come."""
        with torch.inference_mode():
            for copy in self._rows.copies(plan):
                self._pool.copy_page(*copy)
            self._rows.apply(plan)
            for seat in plan.seats:
                self._asks.sit(seat.row, self._rows[seat.row])
            step = self._last = self._next(plan) or self._read(plan)
            size, is_scored = step.size, step.is_scored
            flight = Flight(plan.step, step.spans_N4, step.computed, size.rows, self._staging.take(), self._sample)
            if size.rows:
                self._write(flight.slot, step)
            changed = self._staging.send(flight.slot, size.rows, self._tables.changes(plan))
            if changed is not None:
                self._tables.change(*changed)
            if size.is_graph:
                self._graphs.run(("forward", *size[:2]), partial(self._forward, size))
            elif size.rows:
                hidden_TD = self._forward(size, plan.spans)()
                if is_scored:
                    self._score_prompts(plan, flight, hidden_TD)
            if not plan.is_masked:
                self._draw(flight, Masks())
            return flight

    def _next(self, plan: StepPlan) -> _Step | None:
        """The last step once more, if the plan says so: most of what a plan is asked for is known then."""
        last = self._last
        if last is None or last.decodes is None or plan.seats or _is_scored(plan):
            return None
        step = last.next()
        if step.spans_N4.tobytes() != plan.spans:
            return None
        if step.room < 0:
            step = step._replace(room=self._room(step.spans_N4))
        return step if step.room >= 0 else None

    def _room(self, spans_N4: Ints) -> int:
        """For how many more steps like this all rows have pages."""
        row_N, start_N, count_N, _ = spans_N4.T
        return int((self._rows.paged_R[row_N] * self._rows.page_size - start_N - count_N).min())

    def _read(self, plan: StepPlan) -> _Step:
        spans_N4 = checked(plan.spans, self._rows.tables)
        row_N, start_N, count_N, draws_N = spans_N4.T
        end_N, computed = start_N + count_N, int(count_N.sum())
        is_scored = _is_scored(plan)
        target_N = np.where(draws_N != 0, self._tables.token_places(row_N, end_N), self._tables.nobody)
        step = _Step(spans_N4, self._size(len(spans_N4), computed, is_scored), target_N, computed, is_scored)
        if is_scored or not computed or computed != len(spans_N4) or not draws_N.all():
            return step
        return step._replace(decodes=(self._asks.sat, row_N.tobytes()), room=self._room(spans_N4))

    def _size(self, count: int, tokens: int, is_scored: bool) -> _Size:
        """Steps of one token for each row have a graph for each number of rows; others, if they are small."""
        rows = bucket_of(self._decodes, count) or 0
        if not count or is_scored or not self._is_captured:
            return _Size(rows if count else 0, tokens, False)
        if tokens == count:
            return _Size(rows, rows, True)
        filled, rows_of_class = bucket_of(self._prefills, tokens), bucket_of(self._classes, count + 1)
        if filled is None or rows_of_class is None:
            return _Size(rows, tokens, False)
        return _Size(rows_of_class, filled, True)

    def _write(self, slot: Slot, step: _Step) -> None:
        """Write down the step, and count the tokens that it draws as known."""
        draft = slot.draft(step.size.rows)
        row_N, start_N, count_N, draws_N = step.spans_N4.T
        if step.decodes is not None and step.decodes == slot.decodes:
            advance(draft, start_N, step.target_N)
            self._rows.known_R[row_N] = start_N + 2
        else:
            end_N, is_drawn_N = start_N + count_N, draws_N != 0
            asks_N = self._asks.of(row_N, end_N, is_drawn_N)
            fill(draft, step.spans_N4, self._tables.nobody, step.target_N, asks_N, self._asks.idle)
            self._rows.known_R[row_N[is_drawn_N]] = end_N[is_drawn_N] + 1
        slot.decodes = step.decodes

    def _forward(self, size: _Size, spans: bytes = b"") -> Callable[[], Tensor]:
        """The work from a copied sheet to what draws look at. Hidden states of all tokens [T, D] come back.

        Attention that plans on the host does so here, for these spans and no others.
        """
        told = sheet(self._staging.words, size.rows)
        device = told.asked_N.device
        out_3T = torch.empty(3, size.tokens, dtype=torch.int64, device=device)
        plan, lay_out = self._planned(size, told.spans_N3, spans)
        tokens_T, positions_T, slots_T = out_3T.unbind()
        batch = ForwardBatch(tokens_T, positions_T, slots_T, plan)

        def work() -> Tensor:
            self._ops.fill_inputs(out_3T, told.columns_3N, self._tables.tables)
            lay_out()
            hidden_TD = self._model.forward(batch)
            if self._taken_ND is None:
                self._taken_ND = hidden_TD.new_zeros(len(self._every_N), hidden_TD.shape[1])
            torch.index_select(hidden_TD, 0, told.asked_N, out=self._taken_ND[: size.rows])
            return hidden_TD

        return work

    def _planned(self, size: _Size, spans_N3: Tensor, spans: bytes) -> tuple[AttentionPlan, Callable[[], None]]:
        """Who looks at what, and what works it out on the device from the spans that it is told."""
        attention = self._attention
        if not isinstance(attention, CapturedAttention):
            return attention.plan(Spans(spans, self._rows.pages_RP)), lambda: None
        plan = attention.static_plan(size.rows, size.tokens, self._tables.tables.pages_RP)

        def lay_out() -> None:
            plan.spans_R3.copy_(spans_N3)
            attention.lay_out(plan)

        return plan, lay_out

    def _sample(self, flight: Flight, masks: Masks) -> None:
        with torch.inference_mode():
            self._draw(flight, masks)

    def _draw(self, flight: Flight, masks: Masks) -> None:
        """Queue a step's draws and what comes back; capture something behind it."""
        rows, slot = flight.rows, flight.slot
        if rows:
            asks_N = slot.draft(rows).asks_N
            if masks.rows:
                self._mask(flight, masks)
            row_N = flight.spans_N4[:, 0]
            at_W = asks_N["scored"].nonzero()[0]
            if len(at_W):
                logits_NV, drawn = self._draws(rows)()
                position_W = asks_N["position"][at_W]
                wants_W = self._asks.wants(row_N[at_W], at_W)
                flight.drawn.append(self._scored(row_N[at_W], position_W, logits_NV, drawn.tokens_S, wants_W))
            else:
                self._graphs.run(("draw", rows, rows), partial(self._draws, rows))
            self._staging.fetch(slot, rows)
        slot.mark.record()
        self._graphs.capture_next()

    def _mask(self, flight: Flight, masks: Masks) -> None:
        """Copy the masks, and the records once more with their addresses."""
        asks_N, slot = flight.slot.draft(flight.rows).asks_N, flight.slot
        slot.decodes = None  # a mask is of this step alone
        mask_R = np.zeros(len(self._rows.known_R), np.uint64)
        mask_R[[*masks.rows]] = self._staging.send_masks(slot, masks.words)
        asks_N["mask"][: len(flight.spans_N4)] = mask_R[flight.spans_N4[:, 0]]
        asks_N["num_words"] = len(masks.words) // 4 // len(masks.rows)
        self._staging.send_asks(slot, flight.rows)

    def _draws(self, rows: int) -> Callable[[], tuple[Tensor, Drawn]]:
        """The work from hidden states to tokens: in the tables, and in what comes back."""
        told, found_N = sheet(self._staging.words, rows), self._staging.found_N[:rows]

        def work() -> tuple[Tensor, Drawn]:
            assert self._taken_ND is not None, "a step is launched ahead of its draws"
            logits_NV = self._model.logits(self._taken_ND[:rows], self._every_N[:rows])
            drawn = self._ops.sample(logits_NV, told.asks_NB)
            tokens_N = drawn.tokens_S.to(torch.int32)
            self._tables.memory.scatter_(0, told.target_N, tokens_N)
            found_N.copy_(tokens_N.masked_fill(~drawn.finite_S, NO_TOKEN).masked_fill(drawn.banned_S, ALL_BANNED))
            return logits_NV, drawn

        return work

    def _score_prompts(self, plan: StepPlan, flight: Flight, hidden_TD: Tensor) -> None:
        """The log-probabilities of a prompt's tokens, a few at a time: all their logits would be gigabytes."""
        places, most = scored_places(plan, self._rows), len(self._every_N)
        for at in range(0, 0 if places is None else len(places.row_S), most):
            assert places is not None
            few: Places = places.slice(at, at + most)
            logits_SV = self._model.logits(hidden_TD, self._staging.upload(np.asarray(few.asked_S)))
            tokens_S = self._staging.upload(np.asarray(self._rows.tokens_at(few.row_S, few.position_S)))
            wants_S = self._asks.wants(few.row_S, np.arange(len(few.row_S)))
            flight.prompts.append(self._scored(few.row_S, few.position_S, logits_SV, tokens_S, wants_S))

    def _scored(self, row_W: Ints, position_W: Ints, logits_SV: Tensor, tokens_S: Tensor, wants_W: Records) -> Scored:
        """Queue log-probabilities of some places and their way back."""
        finite_S = is_finite(logits_SV)
        wants_WB = self._staging.upload(wants_W.view(np.uint8).reshape(len(wants_W), -1))
        best, chosen = (max(1, int(wants_W[name].max())) for name in ("top", "num_chosen"))
        scores = self._ops.score(logits_SV, tokens_S, wants_WB, best, chosen)
        place_W = wants_W["row"]
        fetch = self._staging.download
        return Scored(
            row_W, position_W, place_W, fetch(tokens_S), fetch(finite_S), wants_W, type(scores)(*map(fetch, scores))
        )


def _is_scored(plan: StepPlan) -> bool:
    return any(news.score_from >= 0 for news in plan.news.values())
