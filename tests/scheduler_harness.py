"""A scheduler and a fake device, turned by hand; and a loop without either, to compare with."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from stemma.control.scheduler.parking import Parking
from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.config.engine import CacheConfig, ScheduleConfig
from stemma.core.types.control import Chunks
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish, Logprob, Usage
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Seat, StepPlan, StepResult
from stemma.core.types.tokens import pack, unpack
from tests.fake_device import NO_MASKS, FakeDevice, fold, logprob, next_token
from tests.plans import RowPlan

CONTEXT = 48
VOCAB_SIZE = 40
STOP_IDS = (3, 17)


def request(
    id: str,
    prompt: Iterable[int],
    max_new_tokens: int | None = 4,
    *,
    logprobs_from: int | None = None,
    priority: int = 0,
    salt: str = "",
    output: Iterable[int] = (),
    ignore_eos: bool = False,
    min_new_tokens: int = 0,
    stop_token_ids: tuple[int, ...] = (),
    grammar: Grammar | None = None,
) -> Request:
    sampling = SamplingParams(
        max_new_tokens=max_new_tokens,
        ignore_eos=ignore_eos,
        min_new_tokens=min_new_tokens,
        stop_token_ids=stop_token_ids,
    )
    return Request(
        id=id,
        tokens=pack(prompt),
        output=pack(output),
        sampling=sampling,
        logprobs=None if logprobs_from is None else LogprobSpec(start=logprobs_from),
        grammar=grammar,
        priority=priority,
        salt=salt,
    )


@dataclass
class Outcome:
    """All that was said about one request."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    finish: Finish | None = None
    usages: list[Usage] = field(default_factory=list)

    @property
    def said(self) -> tuple[list[int], list[Logprob], list[Logprob], Finish | None]:
        return self.tokens, self.logprobs, self.prompt_logprobs, self.finish


def alone(request: Request, context: int = CONTEXT) -> Outcome:
    """What a request must get: one token at a time, nothing shared, no scheduler."""
    sampling, spec = request.sampling, request.logprobs
    prompt, output = list(unpack(request.tokens)), list(unpack(request.output))
    stop_ids = () if sampling.ignore_eos else STOP_IDS + sampling.stop_token_ids
    most = context - len(prompt)
    if sampling.max_new_tokens is not None:
        most = min(most, sampling.max_new_tokens)
    outcome = Outcome(finish=Finish(reason="length"))
    fingerprint = 0
    for position, token in enumerate(prompt + output):
        if spec is not None and 0 <= spec.start <= position < len(prompt) and not output:
            scored = Logprob(token, None) if position == 0 else logprob(fingerprint, token)
            outcome.prompt_logprobs.append(scored)
        fingerprint = fold(fingerprint, token)
    for place in range(len(output), most):
        token = next_token(fingerprint, VOCAB_SIZE, stop_ids if place < sampling.min_new_tokens else ())
        outcome.tokens.append(token)
        if spec is not None:
            outcome.logprobs.append(logprob(fingerprint, token))
        fingerprint = fold(fingerprint, token)
        if token in stop_ids:
            outcome.finish = Finish(reason="stop", detail=token)
            break
    return outcome


class Harness:
    """The loop of an engine. With depth d, a result is delivered after d - 1 further plans were launched.

    Checks every invariant after every turn. `shuffle`: pages are handed out in random order.
    """

    def __init__(
        self,
        *,
        pages: int = 64,
        page_size: int = 4,
        radix: bool = True,
        shuffle: Random | None = None,
        fault: Callable[[RowPlan, Seat], str | None] = lambda row, seat: None,
        seconds: Callable[[StepPlan], float] = lambda plan: 0.0,
        context: int = CONTEXT,
        schedule: ScheduleConfig | None = None,
        parking: Parking | None = None,
    ):
        self.schedule = schedule or ScheduleConfig(max_running=8, max_queued=None, step_tokens=64)
        cache = CacheConfig(pages=pages, page_size=page_size, radix=radix)
        self.scheduler = Scheduler(cache, self.schedule, context, VOCAB_SIZE, STOP_IDS, seed=1, parking=parking)
        self.device = FakeDevice(
            pages, page_size, VOCAB_SIZE, self.schedule.max_running, self.schedule.step_tokens, fault, seconds
        )
        self.shuffle = shuffle
        self.flying: deque[StepResult] = deque()
        self.outcomes: dict[str, Outcome] = {}
        self.plans: list[StepPlan] = []

    def add(self, *requests: Request) -> None:
        for request in requests:
            self.scheduler.add(request)
            self.outcomes[request.id] = Outcome()

    def turn(self) -> StepPlan | None:
        if self.shuffle is not None:
            self.shuffle.shuffle(self.scheduler.cache.pool.free)
        could_plan = self.scheduler.can_plan
        plan = self.scheduler.plan()
        assert could_plan or plan is None
        if plan is not None:
            self.plans.append(plan)
            if plan.is_masked:
                self.land(all_of_them=True)
            self.flying.append(self.device.launch(plan, self.scheduler.masks() if plan.is_masked else NO_MASKS))
        else:
            waits = self.scheduler.parking or not self.scheduler.has_work
            assert self.flying or waits, "there is work, nothing flies, and nobody computes"
        self.listen(self.scheduler.drain())
        self.land(all_of_them=plan is None)
        self.check()
        return plan

    def land(self, all_of_them: bool) -> None:
        while self.flying and (all_of_them or len(self.flying) >= self.schedule.depth):
            self.listen(self.scheduler.absorb(self.flying.popleft()))

    def check(self) -> None:
        self.scheduler.check()
        for sequence in self.scheduler.seats.seated:
            lease = sequence.held
            published = lease.published * self.scheduler.cache.page_size
            if lease.tail is not None:
                published += len(lease.tail.tokens)
            assert published <= sequence.landed, "others may find what has not landed"

    def run(self, most_turns: int = 5000) -> None:
        """Until everybody is served and everything is given back."""
        turns = 0
        while self.scheduler.has_work:
            self.turn()
            turns += 1
            assert turns < most_turns, "it goes on for ever"
        self.listen(self.scheduler.drain())
        stats = self.scheduler.stats()
        assert stats.free_pages + stats.cached_pages == stats.pages
        assert stats.running == stats.waiting == 0

    def listen(self, said: Chunks) -> None:
        for chunk in said.every():
            outcome = self.outcomes[chunk.id]
            assert outcome.finish is None, f"{chunk.id} goes on after its finish"
            assert chunk.tokens or chunk.prompt_logprobs or chunk.finish, "a chunk that says nothing"
            is_first = not (outcome.tokens or outcome.prompt_logprobs)
            assert (chunk.usage is not None) == (is_first or chunk.finish is not None)
            outcome.tokens += chunk.tokens
            outcome.logprobs += chunk.logprobs
            outcome.prompt_logprobs += chunk.prompt_logprobs
            outcome.finish = chunk.finish
            outcome.usages += [chunk.usage] if chunk.usage else []
