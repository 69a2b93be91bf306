"""A step that raises fails the row that made it raise, and no other."""

from collections.abc import Callable

import pytest

from stemma.core.types.step import Masks, RowPlan, RowResult, StepPlan, StepResult
from stemma.engine.executor import LocalExecutor, Step, isolate

PLAN = StepPlan(step=3, rows=tuple(RowPlan(row, 0, 1, (), True) for row in range(5)))


def poisoned_by(row_of_death: int) -> tuple[list[int], Step]:
    sizes: list[int] = []

    def step(plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        sizes.append(len(plan.rows))
        if any(row.row == row_of_death for row in plan.rows):
            raise ValueError("poison")
        return StepResult(step=plan.step, rows=tuple(RowResult(row.row, (row.row,)) for row in plan.rows))

    return sizes, step


def test_a_fault_stays_with_its_row() -> None:
    sizes, step = poisoned_by(2)
    result = isolate(step, PLAN, Masks)
    assert [row.row for row in result.rows] == [0, 1, 2, 3, 4]
    assert [row.fault for row in result.rows] == [None, None, "ValueError: poison", None, None]
    assert sizes == [5, 1, 1, 1, 1, 1]


def test_a_step_without_fault_runs_once() -> None:
    sizes, step = poisoned_by(-1)
    assert [row.tokens for row in isolate(step, PLAN, Masks).rows] == [(0,), (1,), (2,), (3,), (4,)]
    assert sizes == [5]


def test_at_depth_two_steps_land_in_the_order_of_their_launch() -> None:
    _, step = poisoned_by(-1)
    executor = LocalExecutor(step, depth=2)
    pending = [executor.launch(StepPlan(step=n, rows=PLAN.rows)) for n in range(20)]
    assert [step.wait().step for step in pending] == list(range(20))
    executor.close()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_masked_step_waits_for_its_masks(depth: int) -> None:
    seen: list[Masks] = []

    def step(plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        seen.append(masks())
        return StepResult(step=plan.step, rows=tuple(RowResult(row.row) for row in plan.rows))

    executor = LocalExecutor(step, depth)
    pending = executor.launch(StepPlan(step=0, rows=PLAN.rows, is_masked=True))
    assert seen == []
    masks = Masks((2,), b"some")
    pending.sample(masks)
    assert pending.wait().step == 0 and seen == [masks]
    executor.launch(PLAN).wait()
    assert seen[1:] == [Masks()]
    executor.close()


def test_an_executor_ends_though_masks_never_came() -> None:
    executor = LocalExecutor(lambda plan, masks: StepResult(step=plan.step, rows=masks()), depth=2)  # type: ignore[arg-type]  # never made
    executor.launch(StepPlan(step=0, rows=PLAN.rows[:1], is_masked=True))
    executor.close()
