"""A step that raises fails the row that made it raise, and no other."""

import threading
from collections.abc import Callable

import pytest

from stemma.core.types.step import Masks, StepPlan, StepResult
from stemma.engine.executor import LocalExecutor, Step, isolate
from tests.plans import RowPlan, RowResult, plan_of, result_of, results_of, rows_of

PLAN = plan_of(3, (RowPlan(row, 0, 1, (), True) for row in range(5)))


def poisoned_by(row_of_death: int) -> tuple[list[int], Step]:
    sizes: list[int] = []

    def step(plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        rows = rows_of(plan)
        sizes.append(len(rows))
        if any(row.row == row_of_death for row in rows):
            raise ValueError("poison")
        return result_of(plan.step, (RowResult(row.row, (row.row,)) for row in rows))

    return sizes, step


def test_a_fault_stays_with_its_row() -> None:
    sizes, step = poisoned_by(2)
    found = results_of(PLAN, isolate(step, PLAN, Masks))
    assert [row.tokens for row in found] == [(0,), (1,), (), (3,), (4,)]
    assert [row.fault for row in found] == [None, None, "ValueError: poison", None, None]
    assert sizes == [5, 1, 1, 1, 1, 1]


def test_a_step_without_fault_runs_once() -> None:
    sizes, step = poisoned_by(-1)
    assert [row.tokens for row in results_of(PLAN, isolate(step, PLAN, Masks))] == [(0,), (1,), (2,), (3,), (4,)]
    assert sizes == [5]


def test_at_depth_two_steps_land_in_the_order_of_their_launch() -> None:
    _, step = poisoned_by(-1)
    executor = LocalExecutor(step, depth=2)
    pending = [executor.launch(StepPlan(step=n, spans=PLAN.spans)) for n in range(20)]
    assert [step.wait().step for step in pending] == list(range(20))
    executor.close()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_masked_step_waits_for_its_masks(depth: int) -> None:
    seen: list[Masks] = []

    def step(plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        seen.append(masks())
        return result_of(plan.step, map(RowResult, range(5)))

    executor = LocalExecutor(step, depth)
    pending = executor.launch(StepPlan(step=0, spans=PLAN.spans, is_masked=True))
    assert seen == []
    masks = Masks((2,), b"some")
    pending.sample(masks)
    assert pending.wait().step == 0 and seen == [masks]
    executor.launch(PLAN).wait()
    assert seen[1:] == [Masks()]
    executor.close()


def test_at_depth_two_the_forward_pass_runs_while_masks_are_made() -> None:
    began, seen = threading.Event(), []

    def step(plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        began.set()
        seen.append(masks())
        return result_of(plan.step, map(RowResult, range(5)))

    executor = LocalExecutor(step, depth=2)
    pending = executor.launch(StepPlan(step=0, spans=PLAN.spans, is_masked=True))
    assert began.wait(60), "it waited for masks before it computed"
    pending.sample(Masks((2,), b"some"))
    assert pending.wait().step == 0 and seen == [Masks((2,), b"some")]
    executor.close()


def test_an_executor_ends_though_masks_never_came() -> None:
    executor = LocalExecutor(lambda plan, masks: StepResult(step=plan.step, findings=masks()), depth=2)  # type: ignore[arg-type]  # never made
    executor.launch(StepPlan(step=0, spans=PLAN.spans[:32], is_masked=True))
    executor.close()
