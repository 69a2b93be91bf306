"""Random requests on a random engine: what each is told equals what it is told alone."""

from dataclasses import dataclass, field
from random import Random
from typing import get_args

import pytest

from stemma.core.config.engine import Policy, ScheduleConfig
from stemma.core.types.control import Stats
from stemma.core.types.request import Abort, Request
from stemma.core.types.step import NO_PAGE
from stemma.core.types.tokens import unpack
from tests.plans import rows_of, tokens_of
from tests.scheduler_harness import CONTEXT, Harness, alone, request

SEEDS_EACH = 100
GROUPS = 20


@dataclass
class Seen:
    """What happened in many runs, so that a test cannot pass by never meeting the hard cases."""

    stats: list[Stats] = field(default_factory=list)
    chunked: int = 0  # prompts computed in several steps
    copied: int = 0  # seats that begin with the copy of a page
    reasons: dict[str, int] = field(default_factory=dict)

    def total(self, name: str) -> int:
        return sum(getattr(stats, name) for stats in self.stats)


def random_request(random: Random, id: str, tops: list[list[int]]) -> Request:
    # Few different tokens and few beginnings, so that prefixes meet; some prompts equal each other entirely.
    prompt = random.choice(tops)[: random.randrange(1, 30)]
    prompt = prompt + [random.randrange(2) for _ in range(random.choice([0, 0, 1, 6]))]
    asked = request(
        id,
        prompt,
        random.choice([0, 1, 2, 8, 30, None, None]),
        logprobs_from=random.choice([None, None, -1, 0, 1, 5, len(prompt) - 1, len(prompt) + 2]),
        priority=random.randrange(0, 60),
        salt=random.choice(["", "", "", "other"]),
        ignore_eos=random.random() < 0.2,
        min_new_tokens=random.choice([0, 0, 3]),
        stop_token_ids=random.choice([(), (5, 29)]),
    )
    told = alone(asked).tokens
    if len(told) > 1 and random.random() < 0.2:  # its engine died: it comes with what was sent
        sent = told[: random.randrange(1, len(told))]
        asked = request(
            id,
            prompt,
            asked.sampling.max_new_tokens,
            priority=asked.priority,
            ignore_eos=asked.sampling.ignore_eos,
            min_new_tokens=asked.sampling.min_new_tokens,
            stop_token_ids=asked.sampling.stop_token_ids,
            output=sent,
        )
    return asked


def random_harness(random: Random, depth: int) -> Harness:
    page_size = random.choice([1, 2, 3, 4, 8, 16])
    least = -(-CONTEXT // page_size)  # so that nobody is refused
    schedule = ScheduleConfig(
        max_running=random.choice([1, 2, 3, 6, 9]),
        max_queued=None,
        step_tokens=random.choice([1, 2, 5, 9, 16, 64]),
        policy=random.choice(get_args(Policy)),
        priority=random.random() < 0.5,
        conservativeness=random.choice([0.05, 0.05, 0.3, 1.0]),
        depth=depth,
        max_step_seconds=random.choice([0.0, 0.005, 0.05]),
    )
    return Harness(
        pages=random.choice([least, least, least + 3, 2 * least, 6 * least]),
        page_size=page_size,
        radix=random.random() < 0.9,
        shuffle=random,
        seconds=lambda plan: tokens_of(plan) * random.choice([0.0, 0.001, 0.01, 1.0]),
        schedule=schedule,
    )


def run(seed: int, seen: Seen) -> None:
    random = Random(seed)
    harness = random_harness(random, depth=1 + seed % 3)
    tops = [[random.randrange(2) for _ in range(30)] for _ in range(2)]
    requests = [random_request(random, str(number), tops) for number in range(random.choice([3, 8, 14]))]
    coming = list(requests)
    arrival = random.choice([0.1, 0.5, 1.0])
    abort = random.choice([0.0, 0.0, 0.1])
    stopped: dict[str, int] = {}
    aborted: set[str] = set()
    while coming or harness.scheduler.has_work:
        while coming and random.random() < arrival:
            harness.add(coming.pop())
        if random.random() < abort:
            id = random.choice(requests).id
            outcome = harness.outcomes.get(id)
            if outcome is not None and outcome.finish is None and id not in aborted and id not in stopped:
                if outcome.tokens and random.random() < 0.5:
                    stopped[id] = random.randrange(len(outcome.tokens) + 1)
                    harness.scheduler.abort(Abort(id=id, reason="stop", keep=stopped[id], matched="END"))
                else:
                    aborted.add(id)
                    harness.scheduler.abort(Abort(id=id, reason=random.choice(["asked", "left"])))
        harness.turn()
    harness.run()
    for asked in requests:
        judge(asked, harness, asked.id in aborted, stopped.get(asked.id))
        finish = harness.outcomes[asked.id].finish
        assert finish is not None
        seen.reasons[finish.reason] = seen.reasons.get(finish.reason, 0) + 1
    seen.stats.append(harness.scheduler.stats())
    seen.chunked += sum(row.count > 1 and not row.samples for plan in harness.plans for row in rows_of(plan))
    seen.copied += sum(seat.copy_from != NO_PAGE for plan in harness.plans for seat in plan.seats)
    assert harness.scheduler.flush()
    harness.scheduler.check()
    assert harness.scheduler.stats().free_pages == harness.scheduler.stats().pages


def judge(asked: Request, harness: Harness, is_aborted: bool, keep: int | None) -> None:
    expected, outcome = alone(asked), harness.outcomes[asked.id]
    resumed = len(unpack(asked.output))
    usage = outcome.usages[-1]
    assert usage.prompt == len(unpack(asked.tokens)) and 0 <= usage.cached <= usage.prompt
    if is_aborted or keep is not None:
        assert outcome.finish is not None and outcome.finish.reason == ("abort" if is_aborted else "stop")
        assert outcome.tokens == expected.tokens[: len(outcome.tokens)]
        assert outcome.logprobs == expected.logprobs[: len(outcome.logprobs)]
        assert outcome.prompt_logprobs == expected.prompt_logprobs[: len(outcome.prompt_logprobs)]
    else:
        assert outcome.said == expected.said
    assert usage.output == (resumed + len(outcome.tokens) if keep is None else keep)


@pytest.mark.parametrize("group", range(GROUPS))
def test_everybody_is_told_what_it_would_be_told_alone(group: int) -> None:
    seen = Seen()
    for seed in range(group * SEEDS_EACH, (group + 1) * SEEDS_EACH):
        try:
            run(seed, seen)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert seen.total("retractions") > 10
    assert seen.total("cached_tokens") > 100
    assert seen.total("mixed_steps") > 100
    assert {stats.most_in_flight for stats in seen.stats} == {1, 2, 3}
    assert seen.chunked > 100
    assert seen.copied > 100
    assert min(seen.reasons[reason] for reason in ("stop", "length", "abort")) > 10
