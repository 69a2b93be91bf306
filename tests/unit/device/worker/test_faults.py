"""What goes wrong for one row goes wrong for that row alone; what our own plans get wrong is a Bug."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Seat, StepPlan
from stemma.core.types.tokens import pack
from stemma.device.worker.worker import Worker
from tests.plans import RowPlan, RowResult, plan_of, results_of, rows_of
from tests.unit.device.worker.prefix_model import Asked, FakeModel, Host, fake_worker

GREEDY = SamplingParams(temperature=0.0, sampling_seed=1)
SAMPLED = SamplingParams(top_p=0.9, frequency_penalty=0.3, sampling_seed=5)
CURSED = 13  # a prefix that begins with it has logits that are not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_logits_that_are_not_finite(monkeypatch: pytest.MonkeyPatch, value: float, sampling: SamplingParams) -> None:
    def spoil(prefix: list[int], logits: Tensor) -> Tensor:
        return logits.index_fill(0, torch.tensor([4]), value) if prefix[0] == CURSED else logits

    answers = []
    for curse in (spoil, FakeModel().spoil):
        worker = fake_worker(monkeypatch, FakeModel(curse))
        cursed = Asked([CURSED, 1, 2], sampling, 4, LogprobSpec(start=0, top=2))
        others = [Asked([1, i], sampling, 4, LogprobSpec(start=0, top=2)) for i in range(5)]
        Host(worker, seed=8).run(others[0], cursed, *others[1:])
        answers.append(others)
        assert all(other.fault is None and len(other.tokens) == 4 for other in others)
        if curse is spoil:
            assert cursed.fault is not None
            assert "the token at position 1 " in cursed.fault
            assert not (cursed.tokens or cursed.logprobs or cursed.prompt_logprobs)
    assert answers[0] == answers[1]


def one_by_one(worker: Worker, plan: StepPlan) -> Iterator[RowResult]:
    """What an executor does after a plan has failed as a whole."""
    for part in rows_of(plan):
        alone = plan_of(plan.step, [part], tuple(seat for seat in plan.seats if seat.row == part.row))
        yield from results_of(alone, worker.step(alone))


@pytest.mark.parametrize("where", ["forward", "logits"])
def test_a_plan_may_be_stepped_again(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    seats = tuple(Seat(row=r, tokens=pack([r + 1] * 4), prompt_len=4, pages=(), sampling=SAMPLED) for r in range(3))
    first = plan_of(1, (RowPlan(r, 0, 4, (r,), True) for r in range(3)), seats)
    later = [
        plan_of(p - 2, (RowPlan(r, p, 1, (3 * p + r,) if p % 4 == 0 else (), True) for r in range(3)))
        for p in range(4, 13)
    ]
    smooth = fake_worker(monkeypatch, FakeModel())
    expected = [results_of(plan, smooth.step(plan)) for plan in (first, *later)]

    model = FakeModel()
    rough, right = fake_worker(monkeypatch, model), getattr(model, where)
    found = []
    for plan in (first, *later):
        monkeypatch.setattr(model, where, lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rough.step(plan)
        monkeypatch.setattr(model, where, right)
        found.append(tuple(one_by_one(rough, plan)))
    assert found == expected


@pytest.mark.parametrize("where", ["forward", "logits"])
def test_a_page_is_copied_once_and_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Row 1 begins with three tokens out of row 0's page, which row 2 writes to in the same step."""
    begun = Seat(row=0, tokens=pack([1, 2, 3, 4]), prompt_len=4, pages=(), sampling=SAMPLED)
    copied = Seat(row=1, tokens=pack([1, 2, 3, 9, 9]), prompt_len=5, pages=(6,), copy_from=5, sampling=SAMPLED)
    taker = Seat(row=2, tokens=pack([8, 8]), prompt_len=2, pages=(), sampling=SAMPLED)
    plan = plan_of(2, [RowPlan(2, 0, 2, (5,), True), RowPlan(1, 3, 2, (7,), True)], (copied, taker))
    expected = {}
    for row, tokens in ((1, [1, 2, 3, 9, 9]), (2, [8, 8])):
        seat = Seat(row=row, tokens=pack(tokens), prompt_len=len(tokens), pages=(), sampling=SAMPLED)
        alone = plan_of(1, [RowPlan(row, 0, len(tokens), (1, 2)[: 1 + len(tokens) // 4], True)], (seat,))
        [expected[row]] = results_of(alone, fake_worker(monkeypatch, FakeModel()).step(alone))
    for is_rough in (False, True):
        model = FakeModel()
        worker, right = fake_worker(monkeypatch, model), getattr(model, where)
        worker.step(plan_of(1, [RowPlan(0, 0, 4, (5,), True)], (begun,)))
        if is_rough:
            monkeypatch.setattr(model, where, lambda *arguments: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                worker.step(plan)
            monkeypatch.setattr(model, where, right)
            results = tuple(one_by_one(worker, plan))
        else:
            results = results_of(plan, worker.step(plan))
        assert {result.row: result for result in results} == expected


SEAT = Seat(row=2, tokens=pack([1, 2, 3, 4, 5]), prompt_len=5, pages=(8,), sampling=GREEDY)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (RowPlan(7, 0, 1, (1,), False), "nobody was seated"),
        (RowPlan(2, 0, 5, (), True), "on 1 pages of 4"),
        (RowPlan(2, 0, 6, (9,), True), "knows 5 tokens"),
        (RowPlan(2, 0, 3, (), True), "inside its prompt of 5"),
        (RowPlan(2, 0, 0, (), False), "knows 5 tokens"),
    ],
)
def test_plans_that_cannot_be(monkeypatch: pytest.MonkeyPatch, part: RowPlan, says: str) -> None:
    with pytest.raises(Bug, match=says):
        fake_worker(monkeypatch, FakeModel()).step(plan_of(1, [part], (SEAT,)))
