"""Pages that requests share in part: who copies from whom, and what becomes of it when somebody leaves.

The device of these tests finds every position that stands where it should not.
"""

from random import Random

import pytest

from stemma.core.config.engine import ScheduleConfig
from stemma.core.types.request import Abort
from stemma.core.types.step import NO_PAGE, Seat
from tests.scheduler_harness import Harness, alone, request

BEGINNING = [1, 0] * 18  # nine pages of four


def engine(
    depth: int = 1, pages: int = 64, step_tokens: int = 64, rows: int = 8, conservativeness: float = 1.0
) -> Harness:
    schedule = ScheduleConfig(
        max_running=rows,
        max_queued=None,
        step_tokens=step_tokens,
        depth=depth,
        priority=rows == 1,
        conservativeness=conservativeness,
    )
    return Harness(pages=pages, shuffle=Random(5), schedule=schedule)


def seat_of(harness: Harness, id: str) -> Seat:
    """The last one that it got."""
    row = next(each.row for each in harness.scheduler.seats.seated if each.request.id == id)
    return next(seat for plan in reversed(harness.plans) for seat in plan.seats if seat.row == row)


def cached(harness: Harness, id: str) -> int:
    return harness.outcomes[id].usages[-1].cached


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("step_tokens", [7, 16, 64])
@pytest.mark.parametrize("common", [33, 34, 35, 36])
def test_siblings_compute_their_beginning_once(common: int, step_tokens: int, depth: int) -> None:
    """Together or one after the other, whatever chunks it comes in."""
    asked = [request(str(n), [*BEGINNING[:common], n + 20, n], 3, ignore_eos=True) for n in range(6)]
    together, apart = engine(depth, step_tokens=step_tokens), engine(depth, step_tokens=step_tokens)
    together.add(*asked)
    together.run()
    for one in asked:
        apart.add(one)
        apart.run()
    for harness in (together, apart):
        assert {one.id: harness.outcomes[one.id].said for one in asked} == {one.id: alone(one).said for one in asked}
        assert harness.device.tokens == common + len(asked) * (2 + 2)


@pytest.mark.parametrize("depth", [1, 2])
def test_equal_prompts_compute_their_last_token_each(depth: int) -> None:
    harness = engine(depth)
    harness.add(*(request(str(n), BEGINNING[:34], 3, ignore_eos=True) for n in range(4)))
    harness.run()
    assert harness.device.tokens == 34 + 3 * 1 + 4 * 2


def test_a_conversation_goes_on_in_its_own_page() -> None:
    """Nothing is copied where nobody else goes on from the page, and nothing is computed again."""
    harness, prompt = engine(), BEGINNING[:7]
    for turn in range(4):
        id = str(turn)
        harness.add(request(id, prompt, 5, ignore_eos=True))
        harness.run()
        assert cached(harness, id) == (
            len(prompt) - 3 if turn else 0
        )  # the last answer's last token, and what was added
        prompt = prompt + harness.outcomes[id].tokens + [9, 8]
    assert all(seat.copy_from == NO_PAGE for plan in harness.plans for seat in plan.seats)
    assert harness.device.tokens == len(prompt) - 2 - 1


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("reason", ["asked", "stop"])
def test_the_source_leaves_while_its_page_is_copied(depth: int, reason: str) -> None:
    harness = engine(depth)
    source = request("source", BEGINNING[:35], 8, ignore_eos=True)
    harness.add(source)
    while not harness.outcomes["source"].tokens:
        harness.turn()
    harness.add(request("reader", [*BEGINNING[:34], 30, 31], 8))
    plan = harness.scheduler.plan()
    assert plan is not None and [seat.copy_from == NO_PAGE for seat in plan.seats] == [False]
    harness.plans.append(plan)
    if reason == "asked":
        harness.scheduler.abort(Abort(id="source"))
    else:
        harness.scheduler.abort(Abort(id="source", reason="stop", keep=0, matched="END"))
    harness.check()
    harness.flying.append(harness.device.launch(plan))
    harness.run()
    assert harness.outcomes["reader"].said == alone(request("reader", [*BEGINNING[:34], 30, 31], 8)).said
    assert cached(harness, "reader") == 34


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_source_is_evicted_in_the_step_that_copies_it(depth: int) -> None:
    """All pages but those of the source are taken when another who comes in the same step needs them."""
    harness = engine(depth, pages=13, conservativeness=0.02)
    harness.add(request("source", BEGINNING[:10], 1))
    harness.run()
    reader, taker = request("reader", [*BEGINNING[:9], 30, 31], 1), request("taker", [7] * 38, 4)
    harness.add(reader, taker)
    plan = harness.turn()
    assert plan is not None and len(plan.seats) == 2
    first, second = plan.seats
    news = plan.news[second.row]
    assert first.copy_from != NO_PAGE and first.copy_from in (*second.pages, *news.pages)
    harness.run()
    for one in (reader, taker):
        assert harness.outcomes[one.id].said == alone(one).said


@pytest.mark.parametrize("depth", [1, 2])
def test_a_reader_that_yields_before_its_copy_has_landed_copies_again(depth: int) -> None:
    harness = engine(depth, rows=1)
    harness.add(request("source", BEGINNING[:11], 2))
    harness.run()
    reader, urgent = request("reader", [*BEGINNING[:10], 30, 31], 6), request("urgent", [7, 8], 2, priority=50)
    harness.add(reader)
    harness.turn()
    assert seat_of(harness, "reader").copy_from != NO_PAGE
    harness.add(urgent)
    harness.run()
    assert harness.outcomes["reader"].usages[-1].retractions == 1
    for one in (reader, urgent):
        assert harness.outcomes[one.id].said == alone(one).said


def test_nothing_is_copied_out_of_a_cache_that_was_emptied() -> None:
    harness = engine()
    for _ in range(2):
        harness.add(request("a", BEGINNING[:11], 2, ignore_eos=True))
        harness.run()
        assert cached(harness, "a") == 0
        assert harness.scheduler.flush()
        assert harness.scheduler.stats().free_pages == 64
        harness.outcomes.clear()


@pytest.mark.parametrize("start", [0, 1, 5, 9, 10, 34])
def test_prompt_tokens_that_are_scored_are_computed(start: int) -> None:
    """A hit ends with what the first of them follows, inside a page as well."""
    harness, asked = engine(), request("b", BEGINNING[:35], 1, logprobs_from=start)
    harness.add(request("a", BEGINNING[:35], 1))
    harness.run()
    harness.add(asked)
    harness.run()
    assert harness.outcomes["b"].said == alone(asked).said
    assert cached(harness, "b") == max(start - 1, 0)


def test_a_fault_leaves_nothing_to_copy() -> None:
    harness = Harness(shuffle=Random(5), fault=lambda row, seat: "broken" if row.start == 0 else None)
    harness.add(*(request(str(n), [*BEGINNING[:34], n], 2) for n in range(2)))
    harness.run()
    assert [harness.outcomes[str(n)].usages[-1].cached for n in range(2)] == [0, 0]
    assert harness.scheduler.stats().cached_pages == 0
