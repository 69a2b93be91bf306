"""Alone, batched, chunked, cold, warm, preempted, at any depth, on any page: the same tokens and log-probabilities."""

import random
from pathlib import Path
from typing import Any, get_args

import pytest

from stemma.core.config.engine import DType, EngineConfig, KVType
from stemma.core.config.quant import Format, Quantization
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import NO_PAGE, StepPlan
from stemma.engine.executor import PendingStep
from tests.bodies import BODIES, Body
from tests.checkpoints import tiny_checkpoint
from tests.engine_harness import DrivenEngine, Outcome, engine_config, request
from tests.plans import rows_of

DTYPES: list[DType] = ["float32", "bfloat16"]
Case = tuple[Body, DType, Format]
CASES: list[Case] = [
    *((body, dtype, "plain") for body in BODIES[:2] for dtype in DTYPES),  # the reference, the best that runs here
    *((BODIES[:2][-1], "bfloat16", format) for format in get_args(Quantization)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "Qwen3ForCausalLM")


def requests(count: int = 8) -> list[Request]:
    """Greedy and sampled, with and without penalties and prompt log-probabilities; half share a prefix."""
    draw = random.Random(7)
    shared = [draw.randrange(256) for _ in range(40)]
    made = []
    for i in range(count):
        own = [draw.randrange(256) for _ in range(draw.randrange(3, 50))]
        sampling = SamplingParams(
            max_new_tokens=12 + 3 * i,
            temperature=0.0 if i % 3 == 0 else 0.9,
            top_p=0.9 if i % 3 == 1 else 1.0,
            frequency_penalty=0.5 if i % 4 == 1 else 0.0,
            sampling_seed=1000 + i,
        )
        spec = LogprobSpec(start=0 if i % 4 == 3 else -1, top=3)
        made.append(request(f"r{i}", (shared if i % 2 else []) + own, sampling, spec))
    return made


def bytes_of(outcomes: dict[str, Outcome]) -> dict[str, tuple[object, ...]]:
    return {id: outcome.bytes for id, outcome in sorted(outcomes.items())}


def config_of(folder: Path, case: Case, **options: Any) -> EngineConfig:
    return engine_config(folder, body=case[0], dtype=case[1], weights=case[2], **options)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[Case, dict[str, tuple[object, ...]]]:
    """Each request by itself, its prompt in one chunk, in an engine that caches nothing: what all others must equal."""
    answers: dict[Case, dict[str, tuple[object, ...]]] = {}
    for case in CASES:
        engine = DrivenEngine(config_of(folder, case, radix=False, step_tokens=256))
        answers[case] = {}
        for one in requests():
            answers[case] |= bytes_of(engine.run([one]))
        assert engine.stats().mixed_steps == 0
    return answers


@every_case
@pytest.mark.parametrize("threads", [1, 2])
def test_batched(folder: Path, alone: dict[Case, dict[str, object]], case: Case, threads: int) -> None:
    engine = DrivenEngine(config_of(folder, case, threads=threads))
    assert bytes_of(engine.run(requests())) == alone[case]
    assert engine.stats().mixed_steps > 0


@every_case
@pytest.mark.parametrize("step_tokens", [1, 7, 16, 33])
def test_chunked(folder: Path, alone: dict[Case, dict[str, object]], case: Case, step_tokens: int) -> None:
    engine = DrivenEngine(config_of(folder, case, step_tokens=step_tokens, max_running=4))
    spans: list[int] = []
    launch = engine.loop.executor.launch

    def watched(plan: StepPlan) -> PendingStep:
        spans.extend(row.count for row in rows_of(plan) if row.start + row.count < 40)  # none of an answer begins there
        return launch(plan)

    engine.loop.executor.launch = watched  # type: ignore[method-assign]  # to see what is planned
    assert bytes_of(engine.run(requests())) == alone[case]
    assert max(spans) <= step_tokens
    assert len(spans) > len(requests()), "no prompt was cut"


@every_case
@pytest.mark.parametrize("page_size", [1, 16])
def test_warm(folder: Path, alone: dict[Case, dict[str, object]], case: Case, page_size: int) -> None:
    engine = DrivenEngine(config_of(folder, case, pages=1024 // page_size, page_size=page_size))
    cold, warm = engine.run(requests()), engine.run(requests())
    assert bytes_of(cold) == alone[case]
    assert bytes_of(warm) == alone[case]
    assert sum(outcome.usage.cached for outcome in warm.values()) > sum(o.usage.cached for o in cold.values())
    assert all(warm[f"r{i}"].usage.cached > 0 for i in range(8) if i % 4 != 3)


def inside_pages() -> list[list[Request]]:
    """Conversations that fork and go on at every offset of a page, some of them scored: each list comes at once."""
    draw = random.Random(11)
    text = [draw.randrange(256) for _ in range(90)]

    def ask(id: str, prompt: list[int], start: int = -1) -> Request:
        sampling = SamplingParams(max_new_tokens=5, temperature=0.9, ignore_eos=True, sampling_seed=len(prompt))
        return request(id, prompt, sampling, LogprobSpec(start=start, top=2))

    return [
        [ask("text", text)],
        [ask(f"fork{end}", [*text[:end], 7, end]) for end in range(40, 60)],
        [ask(f"scored{start}", text, start) for start in range(60, 80, 3)],
        [ask(f"on{end}", [*text[:end], 7, end, 9]) for end in range(40, 60, 2)],
    ]


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("body", BODIES[:2], ids=str)
def test_pages_that_are_shared_in_part(folder: Path, body: Body, kv_dtype: KVType) -> None:
    """A copy of keys and values is as good as computing them: on any page, at every depth."""
    options: dict[str, Any] = {"dtype": "bfloat16", "kv_dtype": kv_dtype, "body": body}
    engine = DrivenEngine(engine_config(folder, radix=False, step_tokens=256, **options))
    alone = {id: told.bytes for some in inside_pages() for one in some for id, told in engine.run([one]).items()}
    for depth in (1, 2):
        engine = DrivenEngine(engine_config(folder, pages=200, depth=depth, **options))
        random.Random(depth).shuffle(engine.loop.scheduler.cache.pool.free)
        copies = watched_copies(engine)
        for some in inside_pages():
            told = engine.run(some)
            assert {id: one.bytes for id, one in told.items()} == {id: alone[id] for id in told}
        assert len(copies) > 30


def watched_copies(engine: DrivenEngine) -> list[int]:
    """The sources of all copies from now on."""
    copies: list[int] = []
    launch = engine.loop.executor.launch

    def watched(plan: StepPlan) -> PendingStep:
        copies.extend(seat.copy_from for seat in plan.seats if seat.copy_from != NO_PAGE)
        return launch(plan)

    engine.loop.executor.launch = watched  # type: ignore[method-assign]  # to see what is planned
    return copies


@every_case
@pytest.mark.parametrize("depth", [1, 2])
def test_preempted(folder: Path, alone: dict[Case, dict[str, object]], case: Case, depth: int) -> None:
    engine = DrivenEngine(config_of(folder, case, pages=14, conservativeness=0, depth=depth))
    outcomes = engine.run(requests())
    assert bytes_of(outcomes) == alone[case]
    assert sum(outcome.usage.retractions for outcome in outcomes.values()) > 0


@every_case
def test_overlapped(folder: Path, alone: dict[Case, dict[str, object]], case: Case) -> None:
    engine = DrivenEngine(config_of(folder, case, depth=2))
    assert bytes_of(engine.run(requests())) == alone[case]
    assert engine.stats().most_in_flight == 2


@every_case
def test_on_other_pages(folder: Path, alone: dict[Case, dict[str, object]], case: Case) -> None:
    engine = DrivenEngine(config_of(folder, case))
    before = [request(f"x{i}", [i + 1] * (17 * i + 5)) for i in range(6)]  # leaves the free list in another order
    engine.run(before)
    assert bytes_of(engine.run(requests())) == alone[case]
