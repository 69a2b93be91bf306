"""The scheduler's face, case by case; see test_whole_loop for all of it at once."""

from array import array
from random import Random

import pytest

from stemma.control.cache.radix import Hit
from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.base.errors import Bug
from stemma.core.config.engine import CacheConfig, Policy, ScheduleConfig
from stemma.core.types.output import Finish, Logprob
from stemma.core.types.request import Abort
from stemma.core.types.step import Seat
from stemma.core.types.tokens import unpack
from tests.plans import RowPlan, RowResult, result_of, rows_of
from tests.scheduler_harness import STOP_IDS, Harness, alone, request


def schedule(**limits: int) -> ScheduleConfig:
    return ScheduleConfig(**({"max_running": 8, "max_queued": None, "step_tokens": 64} | limits))  # type: ignore[arg-type]  # keys are fields


def finish_of(harness: Harness, id: str) -> Finish:
    finish = harness.outcomes[id].finish
    assert finish is not None
    return finish


def test_one_request_from_prompt_to_finish() -> None:
    harness = Harness(page_size=4)
    asked = request("a", range(20, 30), 3, ignore_eos=True)
    harness.add(asked)
    harness.run()
    assert harness.outcomes["a"].said == alone(asked).said
    assert [[(row.start, row.count, row.samples) for row in rows_of(plan)] for plan in harness.plans] == [
        [(0, 10, True)],
        [(10, 1, True)],
        [(11, 1, True)],
    ]
    assert [len(row.pages) for plan in harness.plans for row in rows_of(plan)] == [3, 0, 0]
    (seat,) = harness.plans[0].seats
    assert (list(unpack(seat.tokens)), seat.prompt_len, seat.pages) == (list(range(20, 30)), 10, ())
    usage = harness.outcomes["a"].usages[-1]
    assert (usage.prompt, usage.cached, usage.output, usage.retractions) == (10, 0, 3, 0)


def test_decodes_go_first_and_chunks_fill_the_rest() -> None:
    harness = Harness(schedule=schedule(step_tokens=8))
    harness.add(request("first", [1, 2, 4], None, ignore_eos=True))
    harness.turn()
    harness.add(request("long", range(20, 40), 2), request("other", range(10, 16), 2))
    shapes = []
    for _ in range(4):
        plan = harness.turn()
        assert plan is not None
        shapes.append([(row.row, row.start, row.count) for row in rows_of(plan)])
    assert shapes == [
        [(0, 3, 1), (1, 0, 7)],
        [(0, 4, 1), (1, 7, 7)],
        [(0, 5, 1), (1, 14, 6), (2, 0, 1)],  # two prompts in the making
        [(0, 6, 1), (1, 20, 1), (2, 1, 5)],
    ]
    assert harness.scheduler.stats().mixed_steps == 4


def test_a_step_of_two_tokens_seats_no_more_than_two() -> None:
    harness = Harness(schedule=schedule(step_tokens=2))
    harness.add(*(request(str(number), [number], 5, ignore_eos=True) for number in range(5)))
    harness.turn()
    assert harness.scheduler.stats().running == 2
    harness.run()
    assert all(len(outcome.tokens) == 5 for outcome in harness.outcomes.values())


def test_a_later_request_finds_prompt_and_answer() -> None:
    harness = Harness(page_size=4)
    first = request("first", range(20, 30), 7, ignore_eos=True)
    harness.add(first)
    harness.run()
    told = [*range(20, 30), *harness.outcomes["first"].tokens]
    assert len(told) == 17  # the KV of the last token was never computed: 16 positions, 4 pages
    harness.add(request("second", [*told, 1, 2], 1))
    harness.run()
    assert harness.outcomes["second"].usages[-1].cached == 16


def test_a_wholly_cached_prompt_computes_its_last_token_again() -> None:
    harness = Harness(page_size=4)
    for id in ("cold", "warm"):
        harness.add(request(id, range(8), 2))
        harness.run()
    assert harness.outcomes["warm"].usages[-1].cached == 7
    assert harness.outcomes["warm"].said == harness.outcomes["cold"].said


def test_salts_do_not_share() -> None:
    harness = Harness(page_size=4)
    for id, salt in (("a", "one"), ("b", "two"), ("c", "one")):
        harness.add(request(id, range(9), 1, salt=salt))
        harness.run()
    assert [harness.outcomes[id].usages[-1].cached for id in "abc"] == [0, 0, 8]


@pytest.mark.parametrize(("start", "cached"), [(-1, 12), (12, 11), (9, 8), (8, 7), (5, 4), (4, 3), (1, 0), (0, 0)])
def test_a_hit_ends_where_prompt_logprobs_begin(start: int, cached: int) -> None:
    # Position p is scored by computing p - 1.
    harness = Harness(page_size=4)
    harness.add(request("cold", range(13), 1, logprobs_from=start))
    harness.run()
    harness.add(request("warm", range(13), 1, logprobs_from=start))
    harness.run()
    assert harness.outcomes["warm"].usages[-1].cached == cached
    scored = harness.outcomes["warm"].prompt_logprobs
    assert scored == harness.outcomes["cold"].prompt_logprobs
    assert [logprob.token for logprob in scored] == (list(range(start, 13)) if start >= 0 else [])
    if start == 0:
        assert scored[0] == Logprob(0, None)


def test_prompt_logprobs_come_a_part_at_a_time() -> None:
    harness = Harness(schedule=schedule(step_tokens=4))
    asked = request("a", range(10), 1, logprobs_from=0)
    harness.add(asked)
    harness.turn()
    assert len(harness.outcomes["a"].prompt_logprobs) == 5
    assert harness.outcomes["a"].usages[0].prompt == 10
    harness.run()
    assert harness.outcomes["a"].said == alone(asked).said


def test_no_output_is_asked_for() -> None:
    harness = Harness(page_size=4)
    harness.add(request("a", range(9), 0, logprobs_from=0))
    harness.run()
    assert harness.outcomes["a"].tokens == [] and len(harness.outcomes["a"].prompt_logprobs) == 9
    assert finish_of(harness, "a") == Finish(reason="length")
    assert harness.scheduler.stats().cached_pages == 3  # it warms the cache


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_lengths_never_overshoot_and_stops_drop_what_flies(depth: int) -> None:
    harness = Harness(schedule=schedule(depth=depth))
    harness.add(request("length", [1], 5, ignore_eos=True))
    harness.run()
    assert harness.device.tokens == 5
    stopping = next(asked for seed in range(99) if len(alone(asked := request("s", [seed % 40, seed], 30)).tokens) == 6)
    harness.add(stopping)
    harness.run()
    finish = finish_of(harness, "s")
    assert finish.reason == "stop" and finish.detail in STOP_IDS
    assert harness.outcomes["s"].tokens[-1] == finish.detail
    assert harness.device.tokens == 5 + 7 + depth - 1  # depth - 1 rows in vain
    assert harness.scheduler.stats().most_in_flight == depth


def test_resumed_requests_go_on_where_they_were() -> None:
    harness = Harness()
    whole = alone(request("a", [5, 6], 9, ignore_eos=True)).tokens
    harness.add(request("a", [5, 6], 9, output=whole[:4], ignore_eos=True))
    harness.run()
    assert harness.outcomes["a"].tokens == whole[4:]
    assert (harness.outcomes["a"].usages[-1].prompt, harness.outcomes["a"].usages[-1].output) == (2, 9)
    for sent in (9, 3):
        harness.add(request("b", [5, 6], 3, output=whole[:sent], ignore_eos=True))
        harness.run()
        assert finish_of(harness, "b") == Finish(reason="length") and not harness.outcomes["b"].tokens


def test_a_full_queue_says_so() -> None:
    harness = Harness(schedule=schedule(max_queued=2))
    harness.add(*(request(id, [1], 1) for id in "abc"))
    harness.run()
    assert finish_of(harness, "c") == Finish(reason="abort", code=503, detail="The request queue is full.")
    assert {finish_of(harness, id).reason for id in "ab"} == {"length"}


def test_refusals_are_answers() -> None:
    harness = Harness(pages=2, page_size=4)
    harness.add(request("long", range(9), 1), request("empty", []), request("wild", [1000]))
    harness.run()
    assert [finish_of(harness, id).code for id in ("long", "empty", "wild")] == [400, 400, 400]
    assert "8 tokens that the KV cache holds" in str(finish_of(harness, "long").detail)
    assert harness.scheduler.stats().requests == 3 and not harness.plans


def test_an_id_that_is_being_served_is_refused() -> None:
    scheduler = Harness().scheduler
    scheduler.add(request("a", [1]))
    scheduler.add(request("a", [2]))
    (chunk,) = scheduler.drain().chunks
    assert chunk.finish is not None and chunk.finish.code == 400
    assert scheduler.has_work


def test_a_fault_fails_its_row_alone() -> None:
    def fault(row: RowPlan, seat: Seat) -> str | None:
        return "not a number" if unpack(seat.tokens)[0] == 13 and row.start >= 6 else None

    harness = Harness(page_size=2, fault=fault, schedule=schedule(depth=2))
    asked = [request("bad", [13, 1, 2, 4], 20, ignore_eos=True), request("good", [9, 1], 20, ignore_eos=True)]
    harness.add(*asked)
    harness.run()
    assert finish_of(harness, "bad") == Finish(reason="error", code=500, detail="not a number")
    assert harness.outcomes["bad"].tokens == alone(asked[0]).tokens[:3]
    assert harness.outcomes["good"].said == alone(asked[1]).said
    told = [13, 1, 2, 4, *harness.outcomes["bad"].tokens]
    assert harness.scheduler.cache.match(array("i", told), "", 7).tokens == 6  # what came before the fault


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("turns", range(8))
def test_an_abort_at_any_turn_gives_everything_back(depth: int, turns: int) -> None:
    harness = Harness(page_size=2, schedule=schedule(depth=depth, step_tokens=3))
    asked = [request("a", range(7), 10, ignore_eos=True), request("b", range(7, 12), 10, ignore_eos=True)]
    harness.add(*asked)
    for _ in range(turns):
        harness.turn()
    harness.scheduler.abort(Abort(id="a", reason="left"))
    harness.scheduler.abort(Abort(id="a", reason="left"))
    harness.scheduler.abort(Abort(id="nobody"))
    harness.turn()
    assert finish_of(harness, "a") == Finish(reason="abort")
    for _ in range(depth):
        harness.turn()
    assert len(harness.scheduler.cache.leases) <= 1  # nothing but the other's
    harness.run()
    assert harness.outcomes["b"].said == alone(asked[1]).said
    assert harness.scheduler.stats().aborted == 1


def test_a_stop_string_cuts_the_usage() -> None:
    harness = Harness(page_size=1)
    harness.add(request("a", [1, 2], 20, ignore_eos=True))
    for _ in range(6):
        harness.turn()
    harness.scheduler.abort(Abort(id="a", reason="stop", keep=2, matched="END"))
    harness.run()
    assert finish_of(harness, "a") == Finish(reason="stop", detail="END")
    assert harness.outcomes["a"].usages[-1].output == 2
    assert harness.scheduler.stats().aborted == 0


def test_siblings_compute_their_prompt_once() -> None:
    harness = Harness(page_size=4, pages=200)
    asked = [request(str(number), range(40), 3, priority=number) for number in range(8)]
    harness.add(*asked)
    harness.run()
    assert [harness.outcomes[one.id].said for one in asked] == [alone(one).said for one in asked]
    # Each computes its last token; all the rest is computed by the first.
    assert harness.device.tokens == 39 + 8 * (1 + 2)


def test_whoever_scores_its_prompt_waits_for_nobody() -> None:
    harness = Harness(page_size=4, pages=200)
    harness.add(request("leader", range(40), 3), request("scoring", range(40), 3, logprobs_from=2))
    harness.turn()
    assert harness.scheduler.stats().running == 2


def test_whoever_waits_for_a_leader_that_goes_computes_itself() -> None:
    harness = Harness(page_size=4, pages=200, schedule=schedule(step_tokens=4))
    harness.add(request("leader", range(40), 3), request("follower", range(40), 3))
    harness.turn()
    assert harness.scheduler.stats().running == 1
    harness.scheduler.abort(Abort(id="leader"))
    harness.turn()
    assert harness.scheduler.stats().running == 1
    harness.run()
    assert len(harness.outcomes["follower"].tokens) == 3


def test_nobody_waits_for_what_a_decode_says() -> None:
    harness = Harness(page_size=32, pages=40, context=400)  # found when it ends
    harness.add(request("a", range(30), 200, ignore_eos=True))
    for _ in range(50):
        harness.turn()
    told = harness.outcomes["a"].tokens
    harness.add(request("b", [*range(30), *told, 1], 100, ignore_eos=True))
    harness.turn()
    assert harness.scheduler.stats().running == 2
    harness.run()
    assert harness.outcomes["b"].usages[-1].cached == 30


def test_flush_forgets_only_when_idle() -> None:
    harness = Harness(page_size=4)
    harness.add(request("a", range(9), 3))
    assert not harness.scheduler.flush()
    harness.turn()
    assert not harness.scheduler.flush()
    harness.run()
    assert harness.scheduler.stats().cached_pages > 0
    assert harness.scheduler.flush()
    assert harness.scheduler.stats().free_pages == harness.scheduler.stats().pages
    harness.add(request("b", range(9), 3))
    harness.run()
    assert harness.outcomes["b"].usages[-1].cached == 0


def test_nobody_is_asked_to_compute_when_all_is_known() -> None:
    harness = Harness(schedule=schedule(depth=2))
    scheduler = harness.scheduler

    def state() -> tuple[bool, bool]:
        return scheduler.can_plan, scheduler.has_work

    assert state() == (False, False) and scheduler.plan() is None
    harness.add(request("a", [1], 1))
    assert state() == (True, True)
    plan = scheduler.plan()
    assert plan is not None and state() == (False, True)
    harness.listen(scheduler.absorb(harness.device.launch(plan)))
    assert state() == (False, False)


def test_an_idle_engine_guesses_anew() -> None:
    harness = Harness()
    harness.add(request("a", [1], 20, ignore_eos=True))
    harness.run()
    assert harness.scheduler.stats().token_ratio < 0.7
    harness.add(request("b", [1]))
    assert harness.scheduler.stats().token_ratio == 0.7


def test_results_that_do_not_fit_their_plan_are_bugs() -> None:
    scheduler = Scheduler(CacheConfig(pages=9, page_size=1), schedule(), 20, 40, ())
    with pytest.raises(Bug, match="out of turn"):
        scheduler.absorb(result_of(0, ()))
    for rows in ((RowResult(0, (5,)), RowResult(1, (5,))), (RowResult(0, ()),)):
        scheduler.add(request(f"{rows}", [1], 5))
        plan = scheduler.plan()
        assert plan is not None
        with pytest.raises(Bug):
            scheduler.absorb(result_of(plan.step, rows))
        scheduler = Scheduler(CacheConfig(pages=9, page_size=1), schedule(), 20, 40, ())


@pytest.mark.parametrize("policy", ["fcfs", "lpm", "dfs-weight", "lof", "random"])
def test_a_long_queue_does_not_slow_a_step(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks into the cache are counted, not seconds: a few a step, whether ten wait or ten thousand."""
    limits = ScheduleConfig(max_running=4, max_queued=None, step_tokens=64, policy=policy)
    harness = Harness(pages=16, page_size=1, schedule=limits)
    harness.add(*(request(str(number), [number % 40, 1], 9, ignore_eos=True) for number in range(10_000)))
    cache = harness.scheduler.cache
    looks = 0
    match = cache.match

    def counted(tokens: "array[int]", salt: str, limit: int) -> Hit:
        nonlocal looks
        looks += 1
        return match(tokens, salt, limit)

    monkeypatch.setattr(cache, "match", counted)
    for _ in range(50):
        assert harness.turn() is not None
    assert looks <= 50 * 2 * 3  # two for each who is seated, two for the first who does not fit


def test_the_same_input_gives_the_same_plans() -> None:
    def plans(seed: int) -> object:
        harness = Harness(pages=20, page_size=2, schedule=schedule(step_tokens=9, depth=2))
        random = Random(seed)
        for number in range(12):
            harness.add(request(str(number), [random.randrange(2) for _ in range(12)], 12))
            harness.turn()
        harness.run()
        return harness.plans

    assert plans(3) == plans(3)
