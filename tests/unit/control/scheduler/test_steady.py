"""Those who decode cost a step little and each the same, and are counted as if they were looked at."""

import sys
from types import FrameType
from typing import Any

import pytest

from stemma.control.scheduler.scheduler import Scheduler
from stemma.control.scheduler.sequence import Sequence
from stemma.core.base.errors import Bug
from stemma.core.config.engine import CacheConfig, ScheduleConfig
from stemma.core.types.request import Abort
from stemma.core.types.step import SPAN_BYTES, StepResult
from stemma.core.types.tokens import pack
from tests.scheduler_harness import Harness, alone, request

PAGE_SIZE = 16
MOST_OPERATIONS = 80  # of the interpreter, for one more row that decodes: 66 in Python 3.11


def steady(harness: Harness) -> list[str]:
    return [sequence.id for sequence in harness.scheduler.seats.steady.sequences]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_who_decodes_is_steady_until_its_last_step(depth: int) -> None:
    harness = Harness(schedule=ScheduleConfig(max_running=4, max_queued=None, step_tokens=64, depth=depth))
    asked = [
        request("long", [1, 2, 3], 12, ignore_eos=True),
        request("short", [4, 5], 2, ignore_eos=True),
        request("scored", [6], 12, ignore_eos=True, logprobs_from=-1),
    ]
    harness.add(*asked)
    seen = []
    while harness.scheduler.has_work:
        harness.turn()
        seen.append(steady(harness))
    assert {tuple(ids) for ids in seen} == {(), ("long",)}
    assert seen.count(["long"]) == 12 - depth
    assert {one.id: harness.outcomes[one.id].said for one in asked} == {one.id: alone(one).said for one in asked}


@pytest.mark.parametrize("depth", [1, 2])
def test_an_abort_in_the_midst_settles_what_was_counted_together(depth: int) -> None:
    harness = Harness(schedule=ScheduleConfig(max_running=4, max_queued=None, step_tokens=64, depth=depth))
    asked = [request(str(n), [n, 7], 20, ignore_eos=True) for n in range(3)]
    harness.add(*asked)
    for _ in range(8):
        harness.turn()
    assert steady(harness) == ["0", "1", "2"]
    first = harness.scheduler.ledger.open["0"]
    harness.scheduler.abort(Abort(id="0"))
    assert steady(harness) == ["2", "1"]
    assert (first.landed, first.flying) == (len(first.tokens) - 1, depth - 1)
    harness.run()
    for one in asked[1:]:
        assert harness.outcomes[one.id].said == alone(one).said


def test_check_sees_counts_that_went_astray() -> None:
    def running() -> tuple[Harness, Sequence]:
        harness = Harness()
        harness.add(request("one", [1, 2], 20, ignore_eos=True))
        for _ in range(5):
            harness.turn()
        return harness, harness.scheduler.seats.steady.sequences[0]

    harness, sequence = running()
    sequence.tokens.append(1)
    with pytest.raises(Bug, match="steps of 0"):
        harness.check()
    harness, sequence = running()
    sequence.due += 1
    with pytest.raises(Bug, match="is due in"):
        harness.check()


def operations_of_a_page(rows: int) -> int:
    """What the interpreter executes while each of so many rows fills a page."""
    cache = CacheConfig(pages=4 * rows, page_size=PAGE_SIZE)
    schedule = ScheduleConfig(max_running=rows, max_queued=None, step_tokens=8192)
    scheduler = Scheduler(cache, schedule, context=4096, vocab_size=8192, stop_ids=(2,))
    for row in range(rows):
        scheduler.add(request(str(row), (row + 1, 3), 3 * PAGE_SIZE))
    turns(scheduler, 4)
    assert len(scheduler.seats.steady.sequences) == rows
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        turns(scheduler, PAGE_SIZE)
    finally:
        sys.settrace(before)
    return count


def turns(scheduler: Scheduler, count: int) -> None:
    for _ in range(count):
        plan = scheduler.plan()
        assert plan is not None
        scheduler.absorb(StepResult(step=plan.step, tokens=pack([7] * (len(plan.spans) // SPAN_BYTES))))


def test_each_row_costs_the_same_whoever_else_decodes() -> None:
    few, some, many = (operations_of_a_page(rows) for rows in (1, 33, 161))
    of_a_row, of_a_later_row = (some - few) / 32, (many - some) / 128
    assert of_a_later_row <= 1.02 * of_a_row
    assert of_a_later_row / PAGE_SIZE < MOST_OPERATIONS
