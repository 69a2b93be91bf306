"""The whole worker over a fake model: against brute force, and against itself in every other company."""

import math
import random
from collections.abc import Sequence

import msgspec
import pytest

from stemma.core.config.ledger import HEAD_ROWS
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Seat, StepPlan
from stemma.core.types.tokens import pack
from stemma.device.worker.worker import Worker
from tests.plans import RowPlan, plan_of
from tests.unit.device.worker.oracle import brute_logprobs, brute_processed, brute_token
from tests.unit.device.worker.prefix_model import VOCAB_SIZE, Asked, FakeModel, Host, fake_worker, prefix_logits

GREEDY = SamplingParams(temperature=0.0, sampling_seed=1)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, model: FakeModel) -> Worker:
    return fake_worker(monkeypatch, model)


def some_sampling(draw: random.Random) -> SamplingParams:
    return SamplingParams(
        temperature=draw.choice([0.0, 0.5, 1.0, 1.7]),
        top_k=draw.choice([-1, -1, 1, 5, 40]),
        top_p=draw.choice([1.0, 1.0, 0.9, 0.4]),
        min_p=draw.choice([0.0, 0.0, 0.1]),
        frequency_penalty=draw.choice([0.0, 0.0, 0.7, -0.5]),
        presence_penalty=draw.choice([0.0, 0.0, 1.1, -0.3]),
        repetition_penalty=draw.choice([1.0, 1.0, 1.3, 0.8]),
        logit_bias=draw.choice([{}, {}, {3: 4.0, 17: -100.0}]),
        min_new_tokens=draw.choice([0, 0, 5]),
        sampling_seed=draw.randrange(-(2**63), 2**63),
    )


def some_asked(draw: random.Random) -> Asked:
    specs = [None, LogprobSpec(), LogprobSpec(top=3), LogprobSpec(start=draw.randrange(3), top=2, token_ids=(5, 0, 5))]
    return Asked(
        prompt=[draw.randrange(VOCAB_SIZE) for _ in range(draw.randrange(1, 30))],
        sampling=some_sampling(draw),
        new_tokens=draw.randrange(1, 16),
        spec=draw.choice(specs),
        stop_ids=draw.choice([(), (2,), tuple(range(0, VOCAB_SIZE, 2))]),
    )


def expect(one: Asked) -> None:
    """Check every token and log-probability of an answer by brute force."""
    tokens, asked = list(one.prompt), one.sampling
    assert one.fault is None
    assert len(one.tokens) == one.new_tokens
    assert len(one.logprobs) == (0 if one.spec is None else one.new_tokens)
    for at, token in enumerate(one.tokens):
        logits = brute_processed(prefix_logits(tokens).tolist(), asked, one.tokens[:at], one.stop_ids)
        assert asked.sampling_seed is not None
        assert token == brute_token(logits, asked, asked.sampling_seed, len(tokens))
        if one.spec is not None:
            expect_logprobs(one, at, brute_logprobs(logits, asked.temperature or 1.0))
        tokens.append(token)
    start = one.spec.start if one.spec is not None and one.spec.start >= 0 else len(one.prompt)
    scored = one.prompt[max(start, 1) :]
    assert [logprob.token for logprob in one.prompt_logprobs] == scored
    for at, logprob in enumerate(one.prompt_logprobs, len(one.prompt) - len(scored)):
        expected = brute_logprobs(prefix_logits(one.prompt[:at]).tolist())
        assert logprob.logprob == pytest.approx(expected[one.prompt[at]], abs=1e-5)
        assert [id for id, _ in logprob.top] == best(expected, one.spec.top if one.spec else 0)


def expect_logprobs(one: Asked, at: int, expected: Sequence[float]) -> None:
    logprob, spec = one.logprobs[at], one.spec or LogprobSpec()
    assert logprob.token == one.tokens[at]
    assert logprob.logprob == pytest.approx(expected[logprob.token], abs=1e-5)
    assert [id for id, _ in logprob.top] == best(expected, spec.top)
    assert [value for _, value in logprob.top] == pytest.approx([expected[id] for id, _ in logprob.top], abs=1e-5)
    assert list(logprob.chosen) == pytest.approx([expected[id] for id in spec.token_ids], abs=1e-5)


def best(logprobs: Sequence[float], count: int) -> list[int]:
    return sorted(range(len(logprobs)), key=lambda id: (-logprobs[id], id))[:count]


@pytest.mark.parametrize("seed", range(12))
def test_answers_are_those_of_brute_force(worker: Worker, seed: int) -> None:
    draw = random.Random(seed)
    sequences = [some_asked(draw) for _ in range(8)]
    Host(worker, chunk=draw.choice([1, 3, 9, 40]), seed=seed).run(*sequences)
    for one in sequences:
        expect(one)


@pytest.mark.parametrize("seed", range(6))
def test_company_chunks_and_pages_never_show(worker: Worker, seed: int) -> None:
    draw = random.Random(100 + seed)
    sequences = [some_asked(draw) for _ in range(8)]
    together, other, alone = ([one.again() for one in sequences] for _ in "123")
    Host(worker, chunk=40, seed=1).run(*together)
    Host(worker, chunk=3, seed=2).run(*reversed(other))
    for one in alone:
        Host(worker, chunk=1000, seed=3).run(one)
    assert together == other == alone  # floats are compared by their bits: there is no NaN


@pytest.mark.parametrize("seed", range(4))
def test_a_resumed_sequence_goes_on_as_if_nothing_had_happened(worker: Worker, seed: int) -> None:
    draw = random.Random(200 + seed)
    for _ in range(4):
        sampling = msgspec.structs.replace(some_sampling(draw), frequency_penalty=0.4, repetition_penalty=1.2)
        whole = Asked([1, 2, 3], sampling, 14, LogprobSpec(top=2), stop_ids=(2, 4))
        Host(worker).run(whole)
        cut = draw.randrange(1, 14)
        rest = Asked([1, 2, 3], sampling, 14 - cut, whole.spec, whole.stop_ids, output=whole.tokens[:cut])
        Host(worker, chunk=5).run(rest)
        assert (rest.tokens, rest.logprobs) == (whole.tokens[cut:], whole.logprobs[cut:])


def test_stop_ids_wait_for_min_new_tokens(worker: Worker) -> None:
    stops = (*range(1, VOCAB_SIZE), VOCAB_SIZE, 2**31 - 1)  # ids beyond the vocabulary are nobody's
    one = Asked([5, 6], msgspec.structs.replace(GREEDY, min_new_tokens=4), 6, LogprobSpec(token_ids=(7,)), stops)
    Host(worker).run(one)
    assert one.tokens[:4] == [0] * 4
    assert one.tokens[4:] != [0, 0]
    assert [logprob.chosen[0] == -math.inf for logprob in one.logprobs] == [True] * 4 + [False] * 2


def test_logit_bias_forces_and_forbids(worker: Worker) -> None:
    forced = Asked([1], SamplingParams(logit_bias={9: 1e4}, sampling_seed=3), 5)
    barred = Asked([1], SamplingParams(logit_bias=dict.fromkeys(range(60), -1e4), sampling_seed=3), 5)
    Host(worker).run(forced, barred)
    assert forced.tokens == [9] * 5
    assert barred.tokens == [60] * 5


def test_a_tiny_repetition_penalty_stays_finite(worker: Worker) -> None:
    one = Asked([1], SamplingParams(repetition_penalty=1e-300, sampling_seed=3), 4, LogprobSpec())
    Host(worker).run(one)
    assert all(logprob.logprob is not None and math.isfinite(logprob.logprob) for logprob in one.logprobs)


def test_a_row_forgets_who_sat_there(worker: Worker) -> None:
    for prompt in ([1] * 30, [2, 3], [4] * 9):
        one = Asked(prompt, msgspec.structs.replace(GREEDY, presence_penalty=1.0), 6, LogprobSpec(start=0, top=1))
        Host(worker, seed=len(prompt)).run(one)
        expect(one)


def test_a_missing_seed_is_the_engines(worker: Worker) -> None:
    seeded, unseeded = (Asked([1, 2], SamplingParams(sampling_seed=seed), 8) for seed in (77, None))
    Host(worker).run(seeded, unseeded)
    assert seeded.tokens == unseeded.tokens


def test_the_head_runs_in_slices(worker: Worker, model: FakeModel) -> None:
    long = Asked([i * i % VOCAB_SIZE for i in range(2 * HEAD_ROWS + 99)], GREEDY, 2, LogprobSpec(start=0, top=1))
    Host(worker, chunk=10_000, seed=4).run(long, *(Asked([i], GREEDY, 2) for i in range(5)))
    assert model.most_rows <= HEAD_ROWS
    expect(long)
    chunked = long.again()
    Host(worker, chunk=100).run(chunked)
    assert chunked == long


def test_an_empty_plan_only_seats(worker: Worker) -> None:
    result = worker.step(StepPlan(step=3))
    assert (result.step, result.tokens, result.findings) == (3, b"", {})


def test_tokens_that_are_given_take_the_place_of_those_that_were_drawn(worker: Worker) -> None:
    seat = Seat(row=0, tokens=pack([5, 9, 2]), prompt_len=3, pages=(4,), sampling=GREEDY)
    worker.step(plan_of(1, [RowPlan(0, 0, 3, (), True)], (seat,)))
    given = RowPlan(0, 3, 4, (2,), True, given=pack([7, 8, 1, 6]))
    found = worker.step(plan_of(2, [given]))
    whole = Seat(row=1, tokens=pack([5, 9, 2, 7, 8, 1, 6]), prompt_len=3, pages=(7, 1), sampling=GREEDY)
    expected = worker.step(plan_of(3, [RowPlan(1, 0, 7, (), True)], (whole,)))
    assert found.tokens == expected.tokens


def test_seconds_are_measured(worker: Worker) -> None:
    seat = Seat(row=0, tokens=pack([1]), prompt_len=1, pages=(4,), sampling=GREEDY)
    assert worker.step(plan_of(1, [RowPlan(0, 0, 1, (), True)], (seat,))).seconds > 0
