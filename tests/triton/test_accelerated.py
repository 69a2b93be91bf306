"""An accelerator's worker, its kernels interpreted and its graphs replayed call by call, says what others say."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu.launch_cost import worker_of
from stemma.core.base.errors import Bug
from stemma.core.config.engine import EngineConfig
from stemma.core.config.quant import Format
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Masks, News, Seat, StepPlan, StepResult, pack_spans
from stemma.core.types.tokens import pack
from stemma.device.ops.cpu.sampling import ASK
from stemma.device.ops.inputs import Ints, Tables
from stemma.device.ops.reference.inputs import checked
from stemma.device.worker import accelerated, graphs, staging
from stemma.device.worker.accelerated import AcceleratedWorker
from stemma.device.worker.flight import Flight
from stemma.device.worker.worker import Worker
from tests.bodies import BODIES, Body
from tests.checkpoints import VOCAB_SIZE, tiny_checkpoint
from tests.engine_harness import DrivenEngine, Outcome, engine_config, request
from tests.fake_platform import FakeGraph, FakePlatform

TRITON = Body("triton", "triton")
FIELDS = [name for name in ASK.names or () if name != "tokens"]  # which are an address


@pytest.fixture(autouse=True)
def few_threads_and_early_captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(graphs, "USES", 2)
    monkeypatch.setattr(accelerated, "CudaPlatform", FakePlatform)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"), num_hidden_layers=1)


def config_of(folder: Path, body: Body, depth: int = 1, has_graphs: bool = True) -> EngineConfig:
    config = engine_config(folder, body=body, depth=depth, context=64, pages=16, max_running=4, step_tokens=24)
    if body != TRITON:
        return config
    device = msgspec.structs.replace(config.device, platform="cuda", device="cuda:0", graphs=has_graphs)
    return msgspec.structs.replace(config, device=device)


def test_an_engine_says_the_same_at_every_depth(folder: Path) -> None:
    """Prompts in chunks, decodes beside them, draws of every kind, a prefix found, rows that come and go."""
    wishes = [
        SamplingParams(max_new_tokens=5, temperature=0.0, ignore_eos=True, sampling_seed=0),
        SamplingParams(max_new_tokens=4, temperature=0.9, top_p=0.8, ignore_eos=True, sampling_seed=3),
        SamplingParams(max_new_tokens=3, top_k=5, frequency_penalty=0.5, ignore_eos=True, sampling_seed=4),
        SamplingParams(max_new_tokens=3, min_new_tokens=2, logit_bias={7: 3.0}, sampling_seed=5),
        SamplingParams(max_new_tokens=3, temperature=0.0, repetition_penalty=1.3, ignore_eos=True, sampling_seed=0),
    ]
    asked = [
        request(str(number), [(7 * number + at) % 250 for at in range(17 if number != 1 else 27)], wish)
        for number, wish in enumerate(wishes)
    ]
    expected = said(DrivenEngine(config_of(folder, BODIES[0])), asked)
    for depth in (1, 2):
        engine = DrivenEngine(config_of(folder, TRITON, depth))
        assert said(engine, asked) == expected
    again = request("again", [at % 250 for at in range(17)], wishes[0])
    assert said(engine, [again])["again"].tokens == expected["0"].tokens


def said(engine: DrivenEngine, asked: Sequence[Request]) -> dict[str, Outcome]:
    found = engine.run(asked)
    return {id: Outcome(tokens=each.tokens, finish=each.finish) for id, each in sorted(found.items())}


def test_steps_are_replayed_from_fixed_memory(folder: Path) -> None:
    """Sizes are captured in the order of need; rows and tokens that fill a step up change nothing."""
    platform = FakePlatform()
    ours = AcceleratedWorker(config_of(folder, TRITON), platform=platform)
    judge = Worker(config_of(folder, BODIES[0]))
    plans = [
        seated(3),
        *(decodes(step, [0, 1, 2]) for step in range(1, 5)),
        decodes(5, [1]),
        decodes(6, [1]),
        decodes(7, [1]),
    ]
    for plan in plans:
        assert ours.step(plan).tokens == judge.step(plan).tokens, plan.step
    assert set(ours.captured) == {("forward", 4, 4), ("draw", 4, 4), ("forward", 1, 1), ("draw", 1, 1)}
    assert platform.replays == 3 + 2 + 1  # one capture behind a step; prompts were the first use of their draws
    plain = AcceleratedWorker(config_of(folder, TRITON, has_graphs=False))
    assert [plain.step(plan).tokens for plan in plans[:3]] == [ours.step(plan).tokens for plan in plans[:3]]
    assert not plain.captured


def test_a_steady_decode_is_one_on_from_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the device is told is what a worker tells that reads every plan anew; pages that are missing are found."""
    steady, anew, read = worker_of(3), worker_of(3), list[bytes]()

    def counted(spans: bytes, tables: Tables) -> Ints:
        read.append(spans)
        return checked(spans, tables)

    monkeypatch.setattr(accelerated, "checked", counted)
    for step in range(40):
        news = {row: News(pages=(8 + row,)) for row in range(3) if step and (4 + row + step) % 16 == 0}
        plan = seated(3) if step == 0 else msgspec.structs.replace(decodes(step, [0, 1, 2]), news=news)
        found = steady.launch(plan)
        assert len(read) == min(step + 1, 2) + step
        anew._last = None
        expected = anew.launch(plan)
        assert told(found) == told(expected)
        assert found.wait().computed == expected.wait().computed == (18 if step == 0 else 3)
    for step in range(40, 42):
        steady.launch(decodes(step, [0, 1, 2]))
    with pytest.raises(Bug, match="row 2 is to compute up to 49 on 3 pages of 16"):
        steady.launch(decodes(42, [0, 1, 2]))


def told(flight: Flight) -> list[bytes]:
    """A sheet, but for addresses."""
    *numbers, asks_N = flight.slot.draft(flight.rows)[:5]
    return [*(column.tobytes() for column in numbers), *(asks_N[name].tobytes() for name in FIELDS)]


def test_steps_are_launched_before_anyone_knows_what_they_read(folder: Path) -> None:
    """Three flights at once; in the second a grammar's text is given to row 0, in place of what it drew."""
    config = config_of(folder, TRITON, depth=2)
    worker, judge = AcceleratedWorker(config), Worker(config_of(folder, BODIES[0]))
    given = StepPlan(step=1, spans=pack_spans((0, 5, 3, 1, 1, 6, 1, 1)), news={0: News(given=pack([9, 8, 7]))})
    plans = [seated(2), given, StepPlan(step=2, spans=pack_spans((1, 7, 1, 1, 0, 8, 1, 1)))]
    flights = [worker.launch(plan) for plan in plans]
    assert [flight.wait().tokens for flight in flights] == [judge.step(plan).tokens for plan in plans]


def test_a_capture_that_fails_is_the_last_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(FakePlatform):
        def capture(self, run: object) -> FakeGraph:
            raise RuntimeError("operation not permitted when stream is capturing")

    worker, judge = (
        AcceleratedWorker(config_of(folder, TRITON), platform=Refusing()),
        Worker(config_of(folder, BODIES[0])),
    )
    for plan in (seated(1), *(decodes(step, [0]) for step in range(1, 4))):
        assert worker.step(plan).tokens == judge.step(plan).tokens
    assert not worker.captured
    assert caplog.text.count("launched kernel by kernel from here on") == 1


def test_masks_arrive_between_the_passes(folder: Path) -> None:
    worker, judge = AcceleratedWorker(config_of(folder, TRITON)), Worker(config_of(folder, BODIES[0]))
    words = -(-VOCAB_SIZE // 32)
    for step in range(4):
        plan = seated(3) if step == 0 else decodes(step, [0, 1, 2])
        allowed = bytearray(8 * words)
        allowed[step] = 0b100  # of row 2
        allowed[4 * words + 1 + step] = 0b11000  # of row 0
        plan = msgspec.structs.replace(plan, is_masked=True)
        masks = Masks(rows=(2, 0), words=bytes(allowed))
        found, expected = worker.step(plan, lambda masks=masks: masks), judge.step(plan, lambda masks=masks: masks)  # type: ignore[misc]  # bound
        assert found.tokens == expected.tokens
        assert tokens_of(found)[2] == 8 * step + 2
    assert tokens_of(worker.step(decodes(4, [0, 1, 2]))) == tokens_of(judge.step(decodes(4, [0, 1, 2])))


def test_log_probabilities_of_prompts_and_answers(folder: Path) -> None:
    worker, judge = AcceleratedWorker(config_of(folder, TRITON)), Worker(config_of(folder, BODIES[0]))
    spec = LogprobSpec(top=2, token_ids=(5, 9))
    for plan in (seated(2, spec, News(score_from=1)), decodes(1, [0, 1]), decodes(2, [0, 1])):
        found, expected = worker.step(plan), judge.step(plan)
        assert found.tokens == expected.tokens
        for row, theirs in expected.findings.items():
            ours = found.findings[row]
            for kind in ("logprobs", "prompt_logprobs"):
                mine, right = getattr(ours, kind), getattr(theirs, kind)
                assert [each.token for each in mine] == [each.token for each in right]
                for a, b in zip(mine, right, strict=True):
                    assert a.logprob == pytest.approx(b.logprob, abs=1e-5)
                    assert [id for id, _ in a.top] == [id for id, _ in b.top]
                    assert a.chosen == pytest.approx(b.chosen, abs=1e-5)


def test_a_fault_is_of_its_row_alone(folder: Path) -> None:
    worker = AcceleratedWorker(config_of(folder, TRITON))
    first = worker.step(seated(3))
    assert not first.findings
    wrong = StepPlan(step=1, spans=pack_spans((0, 60, 1, 1)))
    with pytest.raises(Bug, match=r"row 0 is to compute \[60, 61\)"):
        worker.launch(wrong)
    with torch.inference_mode():
        worker._attention.pool.keys[0][2 * 16 : 2 * 16 + 3] = float("nan")  # type: ignore[attr-defined]  # row 1's page
    found = worker.step(decodes(1, [0, 1, 2]))
    assert list(found.findings) == [1]
    assert "position 7 are not finite" in (found.findings[1].fault or "")
    assert tokens_of(found)[1] == -1


@pytest.fixture
def bad_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is allocated and not written holds NaN: rows that only fill up a graph do, and nobody may come near them."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("bad_memory")
@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize("format", ["int8", "int4"])
def test_weights_and_cache_in_fewer_bits(folder: Path, format: Format) -> None:
    """Draws see rows of 8 bits, with and without graphs."""
    found = []
    for body in (TRITON, BODIES[0]):
        config = config_of(folder, body)
        device = msgspec.structs.replace(config.device, weights=format, kv_dtype="int8")
        worker = (AcceleratedWorker if body == TRITON else Worker)(msgspec.structs.replace(config, device=device))
        plans = (seated(3), *(decodes(step, [0, 1, 2]) for step in range(1, 5)))
        found.append([worker.step(plan).tokens for plan in plans])
    assert found[0] == found[1]


def test_a_row_that_may_draw_nothing_is_told_so(folder: Path) -> None:
    worker = AcceleratedWorker(config_of(folder, TRITON))
    plan = msgspec.structs.replace(seated(2), is_masked=True)
    found = worker.step(plan, lambda: Masks(rows=(1,), words=bytes(4 * -(-VOCAB_SIZE // 32))))
    assert list(found.findings) == [1]
    assert "every token is banned at position 6" in (found.findings[1].fault or "")
    assert tokens_of(found)[0] >= 0 and tokens_of(found)[1] == -1


def test_attention_may_plan_on_the_host(folder: Path) -> None:
    """As libraries do: no step is a graph then. Plain torch stands for them."""
    config = config_of(folder, Body("triton", "reference"))
    device = msgspec.structs.replace(config.device, platform="cuda", device="cuda:0", graphs=False)
    worker = AcceleratedWorker(msgspec.structs.replace(config, device=device))
    judge = Worker(config_of(folder, BODIES[0]))
    for plan in (seated(3), decodes(1, [0, 1, 2]), decodes(2, [1])):
        assert worker.step(plan).tokens == judge.step(plan).tokens, plan.step
    assert not worker.captured


def test_more_changes_than_fit_into_the_one_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_CHANGES", 4)
    worker, judge = AcceleratedWorker(config_of(folder, TRITON)), Worker(config_of(folder, BODIES[0]))
    for plan in (seated(3), decodes(1, [0, 1, 2])):
        assert worker.step(plan).tokens == judge.step(plan).tokens


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Counts what is copied between a host and its device, which is all that does not block."""

    count = 0

    def __torch_dispatch__(self, call: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.count += call is torch.ops.aten.copy_.default and bool(arguments[2:] and arguments[2])
        return call(*arguments, **(named or {}))


@pytest.mark.parametrize("has_graphs", [True, False])
def test_a_step_is_one_copy_there_and_one_back(folder: Path, has_graphs: bool) -> None:
    """Whoever comes, goes on or takes a page; masks are a copy of their own, since they arrive later."""
    worker = AcceleratedWorker(config_of(folder, TRITON, has_graphs=has_graphs))
    paged = msgspec.structs.replace(decodes(2, [0, 1, 2]), news={1: News((9,))})
    for plan in (seated(3), decodes(1, [0, 1, 2]), paged, decodes(3, [0, 1, 2]), decodes(4, [0, 2])):
        with Copies() as copies:  # type: ignore[no-untyped-call]  # torch
            worker.step(plan)
        assert copies.count == 2, plan.step
    masks = Masks(rows=(0,), words=b"\xff" * (4 * -(-VOCAB_SIZE // 32)))
    with Copies() as copies:  # type: ignore[no-untyped-call]  # torch
        worker.step(msgspec.structs.replace(decodes(5, [0, 2]), is_masked=True), lambda: masks)
    assert copies.count > 2


def seated(rows: int, logprobs: LogprobSpec | None = None, news: News | None = None) -> StepPlan:
    """Prompts of 5, 6, ... tokens, one drawn greedily, the others not."""
    seats = tuple(
        Seat(
            row=row,
            tokens=pack(range(10 + row, 15 + 2 * row)),
            prompt_len=5 + row,
            pages=(2 * row,),
            sampling=SamplingParams(temperature=0.8 if row else 0.0, sampling_seed=row),
            logprobs=logprobs,
        )
        for row in range(rows)
    )
    spans = pack_spans(word for row in range(rows) for word in (row, 0, 5 + row, 1))
    return StepPlan(step=0, seats=seats, spans=spans, news={0: news} if news else {})


def decodes(step: int, rows: Sequence[int]) -> StepPlan:
    """The step-th token of rows that were seated so and drew in every step since."""
    return StepPlan(step=step, spans=pack_spans(word for row in rows for word in (row, 4 + row + step, 1, 1)))


def tokens_of(result: StepResult) -> list[int]:
    return list(memoryview(result.tokens).cast("i"))
