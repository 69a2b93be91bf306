from array import array
from contextlib import closing
from time import process_time

import pytest

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.gate import Gate
from stemma.control.scheduler.queue import MOST_MATCHED, Queue
from stemma.control.scheduler.sequence import Sequence
from stemma.core.config.engine import CacheConfig, Policy
from tests.scheduler_harness import request

GATE = Gate(context=4096, vocab_size=1000, max_total_tokens=100_000, stop_ids=())


def sequence(arrival: int, *prompt: int, max_new_tokens: int = 4, priority: int = 0, rank: int = 0) -> Sequence:
    asked = request(str(arrival), prompt or (1,), max_new_tokens, priority=priority)
    return GATE.enter(asked, arrival, rank)


def cache_with(*prefixes: tuple[int, ...]) -> PrefixCache:
    cache = PrefixCache(CacheConfig(pages=100, page_size=1))
    for prefix in prefixes:
        tokens = array("i", prefix)
        lease = cache.acquire(cache.match(tokens, "", len(tokens)), "", len(tokens), len(tokens))
        assert cache.extend(lease, len(tokens)) is not None
        cache.release(lease, tokens, len(tokens))
    return cache


def order(policy: Policy, sequences: list[Sequence], cache: PrefixCache | None = None, seed: int = 0) -> list[int]:
    """Arrivals in the order of the line."""
    queue = Queue(policy, seed)
    for waiting in sequences:
        queue.push(waiting)
    return [waiting.arrival for waiting in queue.in_order(cache or cache_with())]


def test_fcfs_goes_by_arrival_also_for_those_who_come_back() -> None:
    assert order("fcfs", [sequence(3), sequence(4), sequence(1)]) == [1, 3, 4]


def test_rank_goes_before_every_order() -> None:
    waiting = [sequence(1, rank=0, max_new_tokens=9), sequence(2, rank=5), sequence(3, rank=5), sequence(4, rank=-1)]
    for policy in ("fcfs", "lpm", "dfs-weight"):
        assert order(policy, waiting) == [2, 3, 1, 4]
    assert order("lof", waiting) == [2, 3, 1, 4]


def test_lof_lets_the_longest_output_go_first() -> None:
    waiting = [sequence(1, max_new_tokens=5), sequence(2, max_new_tokens=50), sequence(3, max_new_tokens=5)]
    assert order("lof", waiting) == [2, 1, 3]


def test_the_priority_policy_orders_without_rank() -> None:
    assert order("priority", [sequence(1, priority=1), sequence(2, priority=7), sequence(3, priority=7)]) == [2, 3, 1]


def test_random_is_a_shuffle_that_the_seed_decides() -> None:
    waiting = [sequence(arrival) for arrival in range(50)]
    first = order("random", waiting, seed=1)
    assert first == order("random", waiting, seed=1) != order("random", waiting, seed=2)
    assert sorted(first) == list(range(50)) != first


def test_lpm_lets_the_longest_cached_prefix_go_first() -> None:
    cache = cache_with((1, 2, 3, 4), (7, 8))
    waiting = [sequence(1, 5, 5), sequence(2, 7, 8, 9), sequence(3, 1, 2, 3, 9), sequence(4, 7, 8, 9)]
    assert order("lpm", waiting, cache) == [3, 2, 4, 1]


def test_dfs_weight_serves_neighbours_together_and_crowds_first() -> None:
    cache = cache_with((1, 2), (1, 3), (9, 9))
    waiting = [
        sequence(1, 9, 9, 0),
        sequence(2, 1, 3, 0),
        sequence(3, 1, 2, 0),
        sequence(4, 1, 3, 5),
        sequence(5, 9, 9, 7),
        sequence(6, 1, 2, 1),
        sequence(7, 1, 2, 2),
    ]
    assert order("dfs-weight", waiting, cache) == [3, 6, 7, 2, 4, 1, 5]


@pytest.mark.parametrize("policy", ["lpm", "dfs-weight"])
def test_a_long_queue_goes_by_arrival(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_with((1, 2, 3))
    waiting = [sequence(arrival, 5) for arrival in range(MOST_MATCHED - 1)]
    waiting.append(sequence(999, 1, 2, 3, 4))
    assert order(policy, waiting, cache)[0] == 999
    waiting.append(sequence(1000, 1, 2, 3, 4))
    monkeypatch.setattr(cache, "match", None)  # not even asked
    assert order(policy, waiting, cache)[0] == 0


def test_without_a_tree_nobody_looks_into_it() -> None:
    cache = PrefixCache(CacheConfig(pages=4, page_size=1, radix=False))
    assert order("lpm", [sequence(2), sequence(1)], cache) == [1, 2]


def test_whoever_is_passed_over_keeps_its_place() -> None:
    queue, cache = Queue("fcfs", 0), cache_with()
    waiting = [sequence(arrival) for arrival in range(5)]
    for one in waiting:
        queue.push(one)
    with closing(queue.in_order(cache)) as line:
        assert next(line).arrival == 0
        queue.remove(next(line))
        assert next(line).arrival == 2
    queue.remove(waiting[3])
    assert len(queue) == 3
    assert [one.arrival for one in queue.in_order(cache)] == [0, 2, 4]
    assert [one.arrival for one in queue.in_order(cache)] == [0, 2, 4]


def test_leaving_a_long_queue_is_cheap() -> None:
    queue = Queue("fcfs", 0)
    waiting = [sequence(arrival) for arrival in range(20_000)]
    for one in waiting:
        queue.push(one)
    began = process_time()
    for one in reversed(waiting):
        queue.remove(one)
    assert process_time() - began < 0.5  # quadratic would take minutes
    assert len(queue) == 0 and len(queue._heap) < 100
