"""One request's life in the engine."""

from array import array
from dataclasses import dataclass, field
from enum import Enum, auto

import msgspec

from stemma.control.cache.prefix import Lease
from stemma.control.scheduler.constraint import Constraint
from stemma.core.base.errors import Bug
from stemma.core.types.output import Finish, Logprob, Usage
from stemma.core.types.request import Request
from stemma.core.types.step import NO_TOKEN, News, Seat, Span
from stemma.core.types.tokens import pack


class State(Enum):
    PARKED = auto()  # its grammar is being compiled
    WAITING = auto()  # in the queue
    SEATED = auto()  # has a row; may be planned
    YIELDED = auto()  # preempted: lands what flies, gives back its row, then waits in the queue again
    ENDED = auto()  # its finish was said; lands what flies, gives back its row


@dataclass(slots=True, eq=False)
class Sequence:
    """A request, and how far it has come. Owned by the Scheduler.

    "Prefill" and "decode" are not told apart: positions whose token is known and whose KV is not
    computed yet are caught up with.

    Always: landed <= planned <= known, and known == len(tokens) + tokens that are being sampled.
    It gives back its row and its pages only when flying == 0.
    """

    request: Request
    arrival: int
    rank: int  # larger goes first
    tokens: "array[int]"  # prompt, then absorbed output
    prompt_len: int
    limit: int  # the most tokens that prompt and output may have
    stop_ids: tuple[int, ...]
    given: int  # tokens that the device knows without having drawn them since it was seated
    scored: int  # first position whose successor's log-probability is not planned yet; limit: all are
    id: str = field(init=False)
    end: int = field(init=False)  # positions that it will ever need KV of: nothing follows the last output token
    state: State = State.WAITING
    row: int = -1
    planned: int = 0  # positions whose KV exists once all launched steps have landed
    landed: int = 0  # positions whose KV exists
    flying: int = 0  # launched steps not yet absorbed
    lease: Lease | None = None
    cached: int | None = None  # prompt tokens found in the cache when first seated
    retractions: int = 0
    has_spoken: bool = False  # whether a chunk went out
    constraint: Constraint | None = None
    is_rewritten: bool = False  # the device has yet to be told the tokens from `planned` on
    unsaid: int = 0  # tokens at the end that were given before any was drawn: they are said with the first that is
    vain: int = 0  # launched steps not yet absorbed that computed what is no longer so
    place: int = -1  # among the steady, where `planned`, `landed` and `flying` stand still
    due: int = 0  # the step of the steady that wants a look at it

    def __post_init__(self) -> None:
        self.id = self.request.id
        self.end = max(self.limit - 1, self.prompt_len)

    @property
    def known(self) -> int:
        """Tokens that the device knows once all launched steps have landed: who has computed all of them draws one."""
        return min(max(self.given, self.planned + 1), self.limit)

    @property
    def ahead(self) -> int:
        """Positions that could be computed now."""
        return min(self.known, self.end) - self.planned

    @property
    def hit_limit(self) -> int:
        """How much of a cached prefix it can use: the last known token and those that score others are computed."""
        last = self.known - 1
        return min(last, self.scored)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to compute: it was resumed with all the output it may have."""
        return self.output_len > 0 and self.known >= self.limit

    @property
    def output_len(self) -> int:
        return len(self.tokens) - self.prompt_len

    @property
    def held(self) -> Lease:
        if self.lease is None:
            raise Bug(f"request {self.request.id!r} has no pages")
        return self.lease

    def seat(self, copy_from: int) -> Seat:
        self.is_rewritten = False
        return Seat(
            row=self.row,
            tokens=pack(self.tokens),
            prompt_len=self.prompt_len,
            pages=tuple(self.held.pages),
            copy_from=copy_from,
            sampling=self.request.sampling,
            logprobs=self.request.logprobs,
            stop_ids=self.stop_ids,
        )

    def advance(self, count: int, pages: tuple[int, ...]) -> tuple[int, News | None]:
        """Plan the next `count` positions, for which it got `pages`. Says whether the last one draws."""
        start, known = self.planned, self.known
        end = self.planned = start + count
        score_from = -1
        if self.scored < end:
            score_from, self.scored = self.scored, end if end < self.prompt_len - 1 else self.limit
        draws = int(end == known < self.limit)
        given = b""
        if self.is_rewritten:
            given, self.is_rewritten = pack(self.tokens[start:]), False
        self.flying += 1
        has_news = pages or given or score_from >= 0
        return draws, News(pages, given, score_from) if has_news else None

    def absorb(self, span: Span, token: int) -> Finish | None:
        """Take in what a step yielded; says so when that ends it."""
        if span.draws != (token != NO_TOKEN):
            raise Bug(f"row {span.row} was to yield {span.draws} tokens and yielded token {token}")
        self.landed = span.start + span.count
        if span.draws:
            self.tokens.append(token)
            if token in self.stop_ids and self.output_len > self.request.sampling.min_new_tokens:
                return Finish(reason="stop", detail=token)
        return Finish(reason="length") if self.landed == self.end else None

    def absorb_constrained(
        self, constraint: Constraint, span: Span, token: int, logprobs: tuple[Logprob, ...]
    ) -> tuple[Finish | None, tuple[int, ...], tuple[Logprob, ...]]:
        """The same under a grammar. Also the tokens and log-probabilities that the client is told."""
        finish = self.absorb(span, token)
        if not span.draws:
            return finish, (), ()
        is_stop = finish is not None and finish.reason == "stop"
        if constraint.verdict is None and not is_stop:
            constraint.accept(token, self.output_len - 1)
        if constraint.verdict is not None:
            finish = constraint.verdict
            self.tokens.pop()
        elif not is_stop and constraint.is_over:
            finish = Finish(reason="stop")
        first = self.output_len - self.unsaid - (constraint.verdict is None)
        if finish is None and constraint.jump(self.tokens, self.prompt_len, True, self.limit - 1 - len(self.tokens)):
            self._rewrite()
        self.unsaid = 0
        told, spec = self.tokens[self.prompt_len + first :], self.request.logprobs
        drawn = logprobs[0] if logprobs else None
        return finish, tuple(told), tuple(constraint.logprobs(told, first, drawn, spec)) if spec is not None else ()

    def is_steady(self, flying: int) -> bool:
        """Whether it decodes, in each of the steps that fly, and will go on."""
        return (
            self.landed + 1 == len(self.tokens)
            and self.planned - self.landed == self.flying == flying
            and self.planned < self.end - 1
            and self.state is State.SEATED
            and self.request.logprobs is None
            and not self.vain
            and not self.is_rewritten
        )

    def begin_answer(self) -> None:
        """Before it is first seated: what its grammar forces at once needs no step of its own."""
        if self.constraint is not None and not self.constraint.is_over:
            most = self.limit - 1 - len(self.tokens)
            self.unsaid = self.constraint.jump(self.tokens, self.prompt_len, False, most)
            self.given = len(self.tokens)

    def _rewrite(self) -> None:
        """The tokens after the landed ones are others than the device knows. What flies was computed in vain."""
        self.planned, self.given = self.landed, len(self.tokens)
        self.is_rewritten, self.vain = True, self.flying

    def first_logprobs(self) -> tuple[Logprob, ...]:
        """What the device cannot say of a prompt: its first token follows nothing."""
        spec = self.request.logprobs
        if spec is None or spec.start != 0 or self.has_spoken or self.request.output:
            return ()
        return (Logprob(self.tokens[0], None),)

    def usage(self, keep: int | None = None) -> Usage:
        """`keep`: output tokens that count, when not all do."""
        said = self.output_len - self.unsaid
        output = said if keep is None else min(keep, said)
        usage = Usage(prompt=self.prompt_len, cached=self.cached or 0, output=output, retractions=self.retractions)
        if self.constraint is None:
            return usage
        forced, backend = self.constraint.given(output), self.constraint.backend
        return msgspec.structs.replace(usage, forced=forced, backend=backend)

    def check(self, flying: int, sampled: int) -> None:
        """`flying`, `sampled`: steps that were launched and not absorbed, and how many of them sample."""
        name = self.request.id
        if self.flying != flying:
            raise Bug(f"request {name!r} counts {self.flying} flying steps, and {flying} are")
        if self.state is not State.ENDED and self.known != len(self.tokens) + sampled:
            raise Bug(f"request {name!r} should know {len(self.tokens) + sampled} tokens, not {self.known}")
        if not self.landed <= self.planned <= self.known <= self.limit:
            raise Bug(f"request {name!r}: {self.landed} landed, {self.planned} planned, {self.known} known")
        if (self.row < 0) != (self.lease is None) or (self.row < 0 and self.flying):
            raise Bug(f"request {name!r} has a row without pages, or pages without a row")
