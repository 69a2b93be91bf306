"""StepResult -> tokens, finishes, published pages."""

from collections import deque

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.budget import Draft
from stemma.control.scheduler.cost import StepCost
from stemma.control.scheduler.masks import Draw
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State
from stemma.core.base.errors import Bug
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.step import RowPlan, RowResult, StepPlan, StepResult


class Ledger:
    """Who is being served, and which steps fly. Owned by the Scheduler.

    Always: a sequence is in `open` until its one finish is said.
    """

    def __init__(self, cache: PrefixCache, seats: Seats, cost: StepCost):
        self.open: dict[str, Sequence] = {}
        self.flights: deque[tuple[StepPlan, Draft]] = deque()
        self.most_in_flight = 0
        self.output_tokens = 0
        self.computed_tokens = 0
        self._cache = cache
        self._seats = seats
        self._cost = cost

    def launch(self, plan: StepPlan, draft: Draft) -> None:
        self.flights.append((plan, draft))
        self.most_in_flight = max(self.most_in_flight, len(self.flights))

    def absorb(self, result: StepResult) -> list[TokenChunk]:
        if not self.flights or self.flights[0][0].step != result.step:
            raise Bug(f"the result of step {result.step} came out of turn")
        plan, draft = self.flights.popleft()
        self.computed_tokens += result.tokens
        self._cost.learn(draft.decodes, draft.chunk_tokens, result.seconds)
        chunks = []
        seated, ended = State.SEATED, State.ENDED  # to look a member of an Enum up takes 0.1 us in Python 3.11
        for sequence, row, came in zip(draft.sequences, plan.rows, result.rows, strict=True):
            if row.row != came.row:
                raise Bug(f"step {plan.step} planned row {row.row} where row {came.row} came back")
            sequence.flying -= 1
            if sequence.vain:
                sequence.vain -= 1
            elif sequence.state is not ended:  # else it was computed in vain
                chunk = self._land(sequence, row, came)
                if chunk is not None:
                    chunks.append(chunk)
            if sequence.state is not seated and sequence.row >= 0 and sequence.flying == 0:
                self._seats.depart(sequence)
        return chunks

    def bound_draws(self) -> list[Draw]:
        """Who draws under a grammar in the plan that was launched last; all before it are absorbed."""
        plan, draft = self.flights[-1]
        return [
            Draw(row.row, sequence.constraint, sequence.output_len >= sequence.request.sampling.min_new_tokens)
            for sequence, row in zip(draft.sequences, plan.rows, strict=True)
            if row.samples
            and sequence.constraint is not None
            and not sequence.vain
            and sequence.state is not State.ENDED
        ]

    def close(self, sequence: Sequence) -> None:
        """Its finish is being said. Whatever of it still flies is computed in vain."""
        del self.open[sequence.request.id]
        self._seats.leave(sequence, State.ENDED)

    def _land(self, sequence: Sequence, row: RowPlan, came: RowResult) -> TokenChunk | None:
        if came.fault is not None:
            finish: Finish | None = Finish(reason="error", code=500, detail=came.fault)
        else:
            if sequence.constraint is None:
                finish = sequence.absorb(row, came)
            else:
                finish, came = sequence.absorb_constrained(sequence.constraint, row, came)
            self.output_tokens += len(came.tokens)
            lease = sequence.held
            if sequence.landed >= lease.border:
                self._cache.publish(lease, sequence.tokens, sequence.landed)
        prompt_logprobs, usage = came.prompt_logprobs, None
        if not sequence.has_spoken:
            prompt_logprobs = sequence.first_logprobs() + prompt_logprobs
        if not came.tokens and not prompt_logprobs and finish is None:
            return None
        if finish is not None or not sequence.has_spoken:
            usage = sequence.usage()
            sequence.has_spoken = True
        if finish is not None:
            self.close(sequence)
        return TokenChunk(
            id=sequence.request.id,
            tokens=came.tokens,
            logprobs=came.logprobs,
            prompt_logprobs=prompt_logprobs,
            finish=finish,
            usage=usage,
        )
