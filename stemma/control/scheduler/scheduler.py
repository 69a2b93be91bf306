"""Scheduler: who computes what, next.

add, abort ──▶ Queue ──Admission──▶ Seats ──Advance──▶ Draft ──▶ StepPlan
        │      ▲ ▲                    │                             │ (the device computes)
     Parking ──┘ │                    │                             │ ◀── masks
                 └────Preemption──────┘ ◀──────── Ledger ◀── StepResult
"""

from typing import Literal

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.admit import Admission
from stemma.control.scheduler.advance import Advance
from stemma.control.scheduler.budget import Draft, TokenRatio
from stemma.control.scheduler.cost import StepCost
from stemma.control.scheduler.gate import Gate
from stemma.control.scheduler.ledger import Ledger
from stemma.control.scheduler.parking import Parking
from stemma.control.scheduler.preempt import Preemption
from stemma.control.scheduler.queue import Queue
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State
from stemma.core.base.errors import BadRequest, Bug, Busy, GrammarError, StemmaError
from stemma.core.config.engine import CacheConfig, ScheduleConfig
from stemma.core.types.control import Chunks, Stats
from stemma.core.types.output import Finish, TokenChunk, Usage
from stemma.core.types.request import Abort, Request
from stemma.core.types.step import Masks, StepPlan, StepResult

_NOTHING = Chunks()


class Scheduler:
    """The mind of one replica: requests in, plans out; results in, tokens out.

    Always: every request that was added ends with exactly one `Finish`, and the results of plans are
    absorbed in the order of the plans. How many plans may be out at once is up to the caller.
    """

    def __init__(
        self,
        cache: CacheConfig,
        schedule: ScheduleConfig,
        context: int,
        vocab_size: int,
        stop_ids: tuple[int, ...],
        seed: int = 0,
        parking: Parking | None = None,
    ):
        self.schedule = schedule
        self.gate = Gate(context, vocab_size, cache.pages * cache.page_size, stop_ids)
        self.cache = PrefixCache(cache)
        self.queue = Queue(schedule.policy, seed)
        # A row that decodes needs one token of every step, so rows beyond the step's tokens would only wait.
        self.seats = Seats(min(schedule.max_running, schedule.step_tokens), self.cache, self.queue)
        self.ratio = TokenRatio(schedule.conservativeness, cache.page_size)
        self.preemption = Preemption(self.seats, self.ratio, schedule.priority)
        cost = StepCost(schedule.max_step_seconds)
        self.advance = Advance(self.cache, self.seats, self.preemption, cost)
        self.admission = Admission(self.cache, self.queue, self.seats, self.ratio, self.advance, self.preemption)
        self.ledger = Ledger(self.cache, self.seats, cost)
        self.parking = parking
        self._outbox: list[TokenChunk] = []
        self._requests = 0
        self._aborted = 0
        self._steps = 0
        self._mixed_steps = 0

    def add(self, request: Request) -> None:
        """What cannot be served is answered, not raised."""
        self._requests += 1
        try:
            self._enqueue(request)
        except StemmaError as error:
            self._refuse(request.id, error)

    def abort(self, abort: Abort) -> None:
        """End a request now; tokens that are being computed for it are dropped. An unknown id is ignored."""
        sequence = self.ledger.open.get(abort.id)
        if sequence is None:
            return
        if abort.reason == "stop":
            finish = Finish(reason="stop", detail=abort.matched)
        else:
            self._aborted += 1
            finish = Finish(reason="abort")
        self._close(sequence)
        self._outbox.append(TokenChunk(id=abort.id, finish=finish, usage=sequence.usage(abort.keep)))

    def plan(self) -> StepPlan | None:
        """The next step, or None when nobody computes."""
        self.cache.tick()
        if self.parking is not None and self.parking:
            self._unpark(self.parking)
        draft = Draft(self.schedule.step_tokens)
        self.advance.into(draft)
        self.admission.into(draft)
        plan = draft.close(self._steps)
        if plan is not None:
            self._steps += 1
            self._mixed_steps += draft.is_mixed
            if draft.decodes:
                self.ratio.decay()
            self.ledger.launch(plan.step, draft)
        return plan

    def masks(self) -> Masks:
        """What the plan that was launched last waits for; when all before it are absorbed."""
        if self.parking is None:
            raise Bug("masks of a plan without grammars")
        return self.parking.masks(self.ledger.bound_draws())

    def absorb(self, result: StepResult) -> Chunks:
        return self.ledger.absorb(result)

    def drain(self) -> Chunks:
        """What came to pass outside `absorb`: refusals and aborts."""
        if not self._outbox:
            return _NOTHING
        chunks, self._outbox = self._outbox, []
        return Chunks(chunks=tuple(chunks))

    def flush(self) -> bool:
        """Forget every cached prefix; refused unless idle."""
        if self.has_work:
            return False
        self.cache.forget()
        return True

    def prepare(self) -> None:
        """Nobody is served just now: do what takes long and may be needed."""
        if self.parking is not None:
            self.parking.prepare()

    def close(self) -> None:
        if self.parking is not None:
            self.parking.close()

    @property
    def has_work(self) -> bool:
        """Whether anybody waits, is seated, or has yet to give back a row."""
        return bool(self.ledger.open or self.seats.leaving)

    @property
    def can_plan(self) -> bool:
        """Whether `plan` may yield something before another result lands."""
        if self.queue or self.seats.steady.sequences or any(sequence.ahead for sequence in self.seats.unsteady):
            return True
        return self.parking is not None and bool(self.parking.ready())

    def stats(self) -> Stats:
        """All that the scheduler knows of; seconds and rates are the caller's."""
        return Stats(
            running=len(self.seats.seated),
            waiting=len(self.queue) + len(self.parking or ()),
            steps=self._steps,
            pages=self.cache.pool.pages,
            free_pages=len(self.cache.pool.free),
            cached_pages=self.cache.evictable,
            page_size=self.cache.page_size,
            prompt_tokens=self.admission.prompt_tokens,
            cached_tokens=self.admission.cached_tokens,
            output_tokens=self.ledger.output_tokens,
            computed_tokens=self.ledger.computed_tokens,
            requests=self._requests,
            aborted=self._aborted,
            retractions=self.preemption.retractions,
            mixed_steps=self._mixed_steps,
            most_in_flight=self.ledger.most_in_flight,
            token_ratio=self.ratio.value,
        )

    def check(self) -> None:
        """Raise Bug when an invariant is broken. Not for the hot path: it walks everything."""
        self.cache.check()
        self.seats.check()
        self.seats.steady.check(len(self.ledger.flights))
        placed = [*self.queue, *self.seats.seated, *self.seats.leaving.values()]
        if len(self.cache.leases) != len(placed) - len(self.queue):
            raise Bug(f"{len(self.cache.leases)} leases belong to {len(placed) - len(self.queue)} sequences")
        flying: dict[Sequence, int] = {}
        sampled: dict[Sequence, int] = {}
        for _, draft in self.ledger.flights:
            for at, sequence in enumerate(draft.sequences):
                flying[sequence] = flying.get(sequence, 0) + 1
                counts = draft.span(at).draws and flying[sequence] > sequence.vain
                sampled[sequence] = sampled.get(sequence, 0) + counts
        for sequence in placed:
            sequence.check(flying.pop(sequence, 0), sampled.get(sequence, 0))
        if flying:
            raise Bug(f"{len(flying)} sequences left while steps of theirs were flying")
        unplaced = set(self.ledger.open.values()).difference(placed, self.parking or ())
        if unplaced:
            raise Bug(f"{len(unplaced)} open requests neither wait nor sit")

    def _enqueue(self, request: Request) -> None:
        if request.id in self.ledger.open:
            raise BadRequest(f"a request with the id {request.id!r} is being served already", "id")
        most = self.schedule.max_queued
        if most is not None and len(self.queue) + len(self.parking or ()) >= most:
            raise Busy("The request queue is full.")
        rank = request.priority if self.schedule.priority else 0
        sequence = self.gate.enter(request, self._requests, rank)
        if not self.has_work:
            self.ratio.reset()
        if sequence.is_complete:
            finish = Finish(reason="length")
            self._outbox.append(TokenChunk(id=request.id, finish=finish, usage=sequence.usage()))
            return
        if request.grammar is None:
            self.queue.push(sequence)
        elif self.parking is None:
            raise GrammarError("this engine serves no grammars; start it with another --grammar-backend", "grammar")
        else:
            self.parking.enter(sequence, request.grammar)
        self.ledger.open[request.id] = sequence

    def _unpark(self, parking: Parking) -> None:
        """Those whose grammars are ready wait for rows now."""
        for sequence in parking.ready():
            try:
                parking.constrain(sequence)
            except StemmaError as error:
                del self.ledger.open[sequence.request.id]
                self._refuse(sequence.request.id, error)
            else:
                self.queue.push(sequence)

    def _close(self, sequence: Sequence) -> None:
        if self.parking is not None and sequence.state is State.PARKED:
            self.parking.leave(sequence)
            del self.ledger.open[sequence.request.id]
        else:
            self.ledger.close(sequence)

    def _refuse(self, id: str, error: StemmaError) -> None:
        # A full queue is no fault of the request's: to abort it leaves it to be sent again.
        reason: Literal["abort", "error"] = "abort" if isinstance(error, Busy) else "error"
        finish = Finish(reason=reason, code=error.status, detail=error.message)
        self._outbox.append(TokenChunk(id=id, finish=finish, usage=Usage()))
