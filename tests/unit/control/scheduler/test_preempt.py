"""Admission by expected lengths, and who yields when the guess was wrong."""

from stemma.control.scheduler.budget import TokenRatio
from stemma.control.scheduler.gate import Gate
from stemma.core.config.engine import ScheduleConfig
from stemma.core.types.request import Abort, Request
from stemma.core.types.tokens import unpack
from tests.scheduler_harness import Harness, alone, request

HOPEFUL = 0.02  # conservativeness: hardly any output is expected of anyone


def tight(
    pages: int = 12, conservativeness: float = HOPEFUL, priority: bool = False, depth: int = 1, rows: int = 8
) -> Harness:
    schedule = ScheduleConfig(
        max_running=rows,
        max_queued=None,
        step_tokens=64,
        conservativeness=conservativeness,
        priority=priority,
        depth=depth,
    )
    return Harness(pages=pages, page_size=1, schedule=schedule)


def endless(id: str, first: int, most: int = 9, priority: int = 0) -> Request:
    """Two prompt tokens; says all that it may, and the engine does not know."""
    asked = next(
        asked
        for second in range(40)
        if len(alone(asked := request(id, [first, second], most, priority=priority)).tokens) == most
    )
    return asked


def running(harness: Harness) -> list[str]:
    return [sequence.request.id for sequence in harness.scheduler.seats.seated]


def test_a_request_is_admitted_on_its_expected_output() -> None:
    eager, careful = tight(), tight(conservativeness=1.0)
    for harness in (eager, careful):
        harness.add(endless("a", 1), endless("b", 2))
        harness.turn()
    assert (running(eager), running(careful)) == (["a", "b"], ["a"])  # 12 pages; each may need 10
    for harness in (eager, careful):
        harness.run()
    assert eager.scheduler.stats().retractions > 0 == careful.scheduler.stats().retractions


def test_who_never_stops_by_itself_is_charged_in_full() -> None:
    harness = tight()
    harness.add(request("a", [1, 1], 9, ignore_eos=True), request("b", [2, 2], 9, ignore_eos=True))
    harness.turn()
    assert running(harness) == ["a"]


def test_the_newest_of_the_shortest_yields_and_loses_nothing() -> None:
    harness = tight(pages=14)
    asked = [endless(id, place) for place, id in enumerate("abc", start=1)]
    harness.add(*asked)
    order = []
    while harness.scheduler.has_work:
        before = running(harness)
        harness.turn()
        gone = [id for id in before if id not in running(harness) and harness.outcomes[id].finish is None]
        order += gone
    assert order[:2] == ["c", "b"]
    assert "a" not in order
    for one in asked:
        assert harness.outcomes[one.id].said == alone(one).said
        assert harness.outcomes[one.id].usages[-1].retractions == order.count(one.id)
    assert harness.scheduler.stats().retractions == len(order)


def test_the_oldest_never_yields_however_little_it_has_said() -> None:
    harness = tight()
    old, new = endless("old", 1), endless("new", 2)
    harness.add(old)
    harness.add(request("new", unpack(new.tokens), 9, output=alone(new).tokens[:5]))
    harness.run()
    assert [harness.outcomes[id].usages[-1].retractions for id in ("old", "new")] == [0, 1]
    assert harness.outcomes["new"].tokens == alone(new).tokens[5:]


def test_cached_counts_what_was_found_first() -> None:
    harness = tight(pages=14)
    harness.add(*(endless(id, place) for place, id in enumerate("abc", start=1)))
    harness.run()
    assert harness.scheduler.stats().retractions > 0
    assert [outcome.usages[-1].cached for outcome in harness.outcomes.values()] == [0, 0, 0]


def test_the_lowest_priority_yields_first() -> None:
    harness = tight(priority=True)
    harness.add(endless("old", 1, priority=0), endless("new", 2, priority=5))
    harness.run()
    assert harness.outcomes["old"].usages[-1].retractions > 0
    assert harness.outcomes["new"].usages[-1].retractions == 0


def test_a_much_larger_priority_takes_a_row_and_a_slightly_larger_waits() -> None:
    for priority, expected in ((10, ["low"]), (11, ["high"])):
        for depth in (1, 2):
            harness = tight(priority=True, rows=1, depth=depth, pages=30)
            harness.add(endless("low", 1, priority=0))
            harness.turn()
            harness.add(endless("high", 2, priority=priority))
            for _ in range(depth + 1):
                harness.turn()
            assert running(harness) == expected
            harness.run()
            assert harness.outcomes["high"].usages[-1].retractions == 0


def test_nobody_yields_in_vain() -> None:
    harness = tight(pages=20, priority=True, conservativeness=1.0)
    harness.add(endless("equal", 1, 12, priority=90), endless("low", 2, 3, priority=0))
    harness.turn()
    assert running(harness) == ["equal", "low"]
    # All that `low` could give would not be enough beside `equal`.
    harness.add(request("big", range(10), 8, priority=95, ignore_eos=True))
    harness.turn()
    assert running(harness) == ["equal", "low"]
    harness.run()


def test_priorities_are_ignored_unless_asked_for() -> None:
    harness = tight(rows=1, pages=30)
    harness.add(endless("low", 1, priority=0), endless("high", 2, priority=1000))
    harness.turn()
    assert running(harness) == ["low"]


def test_the_pages_of_who_yielded_are_found_again() -> None:
    harness = tight(pages=14, depth=2)
    asked = [endless(id, place) for place, id in enumerate("abc", start=1)]
    harness.add(*asked)
    harness.run()
    seats = [seat for plan in harness.plans for seat in plan.seats]
    again = [seat for seat in seats if len(seat.tokens) > 2 * 4]
    assert len(again) == harness.scheduler.stats().retractions > 0
    assert any(seat.pages for seat in again)


def test_nobody_else_yields_while_pages_are_on_their_way() -> None:
    harness = tight(pages=14, depth=3)
    harness.add(*(endless(id, place) for place, id in enumerate("abc", start=1)))
    while not harness.scheduler.seats.leaving:
        harness.turn()
    while harness.scheduler.seats.leaving:
        harness.turn()
    assert running(harness) == ["a", "b"]
    assert harness.scheduler.stats().retractions == 1


def test_an_abort_while_yielding_or_waiting_again() -> None:
    for delay in range(4):
        harness = tight(pages=14, depth=3)
        harness.add(*(endless(id, place) for place, id in enumerate("abc", start=1)))
        while not harness.scheduler.stats().retractions:
            harness.turn()
        for _ in range(delay):
            harness.turn()
        harness.scheduler.abort(Abort(id="c"))
        harness.run()
        finish = harness.outcomes["c"].finish
        assert finish is not None and finish.reason == "abort"


def test_the_ratio_falls_in_600_steps_and_rises_by_what_was_needed() -> None:
    ratio = TokenRatio(conservativeness=1.0, page_size=1)
    assert ratio.value == 0.7
    for _ in range(300):
        ratio.decay()
    assert abs(ratio.value - (0.7 + 0.7 * 0.14) / 2) < 1e-9
    for _ in range(1000):
        ratio.decay()
    assert ratio.value == ratio.least == 0.7 * 0.14
    gate = Gate(context=1000, vocab_size=40, max_total_tokens=1000, stop_ids=())
    sequence = gate.enter(request("a", [1], 100, output=[1] * 30), 0, 0)
    ratio.learn([sequence])
    assert abs(ratio.value - 50 / 101) < 1e-9
    ratio.reset()
    assert ratio.value == 0.7
    ratio.learn([sequence])
    assert ratio.value == 0.7  # never less careful than before
    assert TokenRatio(conservativeness=3.0, page_size=1).initial == 1.0


def test_two_preemptions_end_the_guessing() -> None:
    gate = Gate(context=10_000, vocab_size=40, max_total_tokens=100_000, stop_ids=())
    sequence = gate.enter(request("a", [1], 9000), 0, 0)
    ratio = TokenRatio(conservativeness=1.0, page_size=10)
    assert ratio.expected_pages(sequence) == -(-(1 + int(0.7 * 4096) + 1) // 10)
    sequence.retractions = 2
    assert ratio.expected_pages(sequence) == 900
    assert sequence.end == 9000
