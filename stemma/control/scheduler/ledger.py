"""StepResult -> tokens, finishes, published pages."""

from collections import deque
from collections.abc import Mapping
from itertools import count

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.budget import Draft
from stemma.control.scheduler.cost import StepCost
from stemma.control.scheduler.masks import Draw
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State
from stemma.core.base.errors import Bug
from stemma.core.types.control import Chunks
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.step import NO_TOKEN, Findings, Span, StepResult
from stemma.core.types.tokens import pack, unpack

_NOTHING = Findings()


class Ledger:
    """Who is being served, and which steps fly. Owned by the Scheduler.

    Always: a sequence is in `open` until its one finish is said.
    """

    def __init__(self, cache: PrefixCache, seats: Seats, cost: StepCost):
        self.open: dict[str, Sequence] = {}
        self.flights: deque[tuple[int, Draft]] = deque()  # number and rows of each step
        self.most_in_flight = 0
        self.output_tokens = 0
        self.computed_tokens = 0
        self._cache = cache
        self._seats = seats
        self._cost = cost

    def launch(self, step: int, draft: Draft) -> None:
        self.flights.append((step, draft))
        self.most_in_flight = max(self.most_in_flight, len(self.flights))

    def absorb(self, result: StepResult) -> Chunks:
        if not self.flights or self.flights[0][0] != result.step:
            raise Bug(f"the result of step {result.step} came out of turn")
        _, draft = self.flights.popleft()
        self.computed_tokens += result.computed
        self._cost.learn(draft.decodes, draft.chunk_tokens, result.seconds)
        tokens, sequences = unpack(result.tokens), draft.sequences
        if len(tokens) != len(sequences):
            raise Bug(f"step {result.step} planned {len(sequences)} rows, and {len(tokens)} came back")
        chunks, ids, plain = [], [], []
        for at, sequence, token in zip(count(), sequences, tokens, strict=False):
            if (
                sequence.place >= 0  # it is steady
                and token != NO_TOKEN
                and token not in sequence.stop_ids
                and (sequence.constraint is None or sequence.constraint.goes_on(token, sequence.output_len))
            ):
                sequence.tokens.append(token)  # its pages are published when it ends, all at once
                ids.append(sequence.id)
                plain.append(token)
            elif (chunk := self._look(sequence, draft.span(at), token, result.findings)) is not None:
                chunks.append(chunk)
        self.output_tokens += len(ids)
        return Chunks(chunks=tuple(chunks), ids=tuple(ids), tokens=pack(plain))

    def bound_draws(self) -> list[Draw]:
        """Who draws under a grammar in the plan that was launched last; all before it are absorbed."""
        _, draft = self.flights[-1]
        ended = State.ENDED  # looked up once
        return [
            Draw(sequence.row, constraint, sequence.output_len >= sequence.request.sampling.min_new_tokens)
            for sequence, draws in zip(draft.sequences, draft.draws, strict=True)
            if (constraint := sequence.constraint) is not None
            and draws
            and not sequence.vain
            and sequence.state is not ended
        ]

    def close(self, sequence: Sequence) -> None:
        """Its finish is being said. Whatever of it still flies is computed in vain."""
        del self.open[sequence.request.id]
        self._seats.leave(sequence, State.ENDED)

    def _look(self, sequence: Sequence, span: Span, token: int, findings: Mapping[int, Findings]) -> TokenChunk | None:
        """At a row of a step that has landed."""
        chunk = None
        if sequence.place >= 0:
            self._seats.steady.leave(sequence)
        sequence.flying -= 1
        if sequence.vain:
            sequence.vain -= 1
        elif sequence.state is not State.ENDED:  # else it was computed in vain
            chunk = self._land(sequence, span, token, findings.get(span.row, _NOTHING))
        if sequence.state is not State.SEATED and sequence.row >= 0 and sequence.flying == 0:
            self._seats.depart(sequence)
        return chunk

    def _land(self, sequence: Sequence, span: Span, token: int, found: Findings) -> TokenChunk | None:
        told: tuple[int, ...] = ()
        finish, logprobs, prompt_logprobs, usage = None, found.logprobs, found.prompt_logprobs, None
        if found.fault is not None:
            finish = Finish(reason="error", code=500, detail=found.fault)
        else:
            if sequence.constraint is None:
                finish, told = sequence.absorb(span, token), (token,) if span.draws else ()
            else:
                finish, told, logprobs = sequence.absorb_constrained(sequence.constraint, span, token, logprobs)
            self.output_tokens += len(told)
            lease = sequence.held
            if sequence.landed >= lease.border:
                self._cache.publish(lease, sequence.tokens, sequence.landed)
        if not sequence.has_spoken:
            prompt_logprobs = sequence.first_logprobs() + prompt_logprobs
        if not told and not prompt_logprobs and finish is None:
            return None
        if finish is not None or not sequence.has_spoken:
            usage = sequence.usage()
            sequence.has_spoken = True
        if finish is not None:
            self.close(sequence)
        elif sequence.is_steady(len(self.flights)):
            self._seats.steady.join(sequence)
        return TokenChunk(
            id=sequence.request.id,
            tokens=told,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            finish=finish,
            usage=usage,
        )
