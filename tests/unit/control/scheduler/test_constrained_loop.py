"""Random requests under grammars, beside free ones, on a random engine: each is told what it is told alone."""

import json
from dataclasses import dataclass
from random import Random

import msgspec
import pytest

from stemma.control.scheduler.parking import Parking
from stemma.core.config.engine import ScheduleConfig
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Logprob
from stemma.core.types.request import Abort, Request
from stemma.core.types.tokens import pack
from tests.fake_grammar import ListCompiler, listed, text_of
from tests.plans import rows_of
from tests.scheduler_harness import STOP_IDS, VOCAB_SIZE, Harness, Outcome, request

CONTEXT = 64


def parking(jumps: bool, compiler: ListCompiler | None = None) -> Parking:
    return Parking(compiler or ListCompiler(), jumps, VOCAB_SIZE, STOP_IDS)


def random_grammar(random: Random) -> Grammar:
    def word(most: int) -> str:
        return "".join(random.choice("abcd") for _ in range(random.randrange(most)))

    keys = [word(9) for _ in range(3)]
    answers = []
    for _ in range(random.choice([1, 2, 6])):
        items = [f'"{key}":{random.choice(["", " "])}"{word(4)}"' for key in keys[: random.randrange(1, 4)]]
        answers.append("{" + random.choice([",", ", "]).join(items) + "}")
    return listed(*dict.fromkeys(answers))


def random_request(random: Random, id: str, grammar: Grammar | None) -> Request:
    prompt = [random.choice([0, 1]) for _ in range(random.randrange(1, 20))]
    return request(
        id,
        prompt,
        random.choice([1, 5, 12, None, None]),
        logprobs_from=random.choice([None, -1, 0, 3]),
        ignore_eos=random.random() < 0.2,
        min_new_tokens=random.choice([0, 0, 9]),
        stop_token_ids=random.choice([(), (), (1, 2)]),
        grammar=grammar,
    )


def alone(asked: Request, jumps: bool) -> tuple[Outcome, int]:
    """What it is told by itself, and how often its model was asked for a token."""
    harness = Harness(pages=CONTEXT, page_size=2, radix=False, context=CONTEXT, parking=parking(jumps))
    harness.add(asked)
    harness.run()
    return harness.outcomes[asked.id], sum(row.samples for plan in harness.plans for row in rows_of(plan))


@dataclass
class Seen:
    """So that a test cannot pass by never meeting the hard cases."""

    forced: int = 0
    retractions: int = 0
    cached: int = 0
    complete: int = 0
    cut: int = 0
    parked_turns: int = 0


def run(seed: int, seen: Seen) -> None:
    random = Random(seed)
    jumps = seed % 4 != 3
    page_size = random.choice([1, 2, 4, 8])
    least = -(-CONTEXT // page_size)
    schedule = ScheduleConfig(
        max_running=random.choice([3, 9]),
        max_queued=None,
        step_tokens=random.choice([2, 5, 16, 64]),
        conservativeness=random.choice([0.0, 0.05]),
        depth=1 + seed % 3,
    )
    turns = [0]
    late: dict[Grammar, int] = {}

    def holds(grammar: Grammar) -> bool:
        return turns[0] < late.setdefault(grammar, turns[0] + random.randrange(4))

    harness = Harness(
        pages=random.choice([least, least + 3]),
        page_size=page_size,
        radix=random.random() < 0.8,
        shuffle=random,
        context=CONTEXT,
        schedule=schedule,
        parking=parking(jumps, ListCompiler(holds)),
    )
    grammars = [random_grammar(random), random_grammar(random), None]
    requests = [random_request(random, str(number), random.choice(grammars)) for number in range(7)]
    expected = {asked.id: alone(asked, jumps) for asked in requests}
    for asked in requests:
        judge(asked, *expected[asked.id], seen)
    coming = [resumed(random, asked, expected[asked.id][0]) for asked in requests]
    harness.add(*(asked for asked, _ in coming[:4]))
    while harness.scheduler.has_work or turns[0] < 5:
        if turns[0] == 4:
            harness.add(*(asked for asked, _ in coming[4:]))
            harness.scheduler.abort(Abort(id=coming[0][0].id))
        harness.turn()
        turns[0] += 1
        seen.parked_turns += len(harness.scheduler.parking or ())
    harness.run()
    for (asked, sent), is_aborted in zip(coming, [True, *[False] * 6], strict=True):
        outcome, whole = harness.outcomes[asked.id], expected[asked.id][0]
        assert outcome.tokens == whole.tokens[sent:][: len(outcome.tokens)]
        assert outcome.logprobs == whole.logprobs[sent:][: len(outcome.logprobs)]
        assert outcome.usages[-1].output == sent + len(outcome.tokens)
        if not is_aborted:
            assert (len(outcome.tokens), outcome.finish) == (len(whole.tokens) - sent, whole.finish)
    seen.retractions += harness.scheduler.stats().retractions
    seen.cached += harness.scheduler.stats().cached_tokens
    assert harness.scheduler.flush()


def resumed(random: Random, asked: Request, whole: Outcome) -> tuple[Request, int]:
    """Some come with what an engine that died has sent already; anywhere within what was given, too."""
    if len(whole.tokens) < 2 or random.random() < 0.7:
        return asked, 0
    sent = random.randrange(1, len(whole.tokens))
    return msgspec.structs.replace(asked, output=pack(whole.tokens[:sent])), sent


def judge(asked: Request, outcome: Outcome, draws: int, seen: Seen) -> None:
    """Whether an answer is in its list, or is the beginning of one that was cut off."""
    finish, usage = outcome.finish, outcome.usages[-1]
    assert finish is not None and usage.output == len(outcome.tokens)
    assert [logprob.token for logprob in outcome.logprobs] == (outcome.tokens if asked.logprobs else [])
    if asked.grammar is None:
        assert usage.forced == 0
        return
    answers = json.loads(asked.grammar.source)
    tokens = outcome.tokens[:-1] if finish.detail in STOP_IDS else outcome.tokens
    text = text_of(tokens).replace("Ġ", " ")
    dropped = finish.reason == "error"
    assert draws - dropped == usage.output - usage.forced, "what is not forced was drawn"
    certain = sum(logprob == Logprob(logprob.token, 0.0) for logprob in outcome.logprobs)
    assert certain >= usage.forced or asked.logprobs is None
    if finish.reason == "stop" and finish.detail not in (1, 2):
        assert text in answers
        seen.complete += 1
    else:
        assert finish.reason != "error" or asked.sampling.min_new_tokens
        assert any(answer.startswith(text) for answer in answers)
        seen.cut += 1
    seen.forced += usage.forced


@pytest.mark.parametrize("group", range(4))
def test_everybody_is_told_what_it_would_be_told_alone(group: int) -> None:
    seen = Seen()
    for seed in range(group * 60, (group + 1) * 60):
        try:
            run(seed, seen)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert seen.forced > 200 and seen.complete > 50 and seen.cut > 20
    assert seen.retractions > 2 and seen.cached > 50 and seen.parked_turns > 20
