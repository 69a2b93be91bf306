from array import array

from stemma.control.cache.evict import LeastRecentlyUsed
from stemma.control.cache.prefix import PrefixCache
from stemma.control.cache.radix import RadixTree
from stemma.core.config.engine import CacheConfig


def stored(cache: PrefixCache, *tokens: int) -> None:
    prefix = array("i", tokens)
    lease = cache.acquire(cache.match(prefix, "", len(prefix)), "", len(prefix), len(prefix))
    assert cache.extend(lease, len(prefix)) is not None
    cache.release(lease, prefix, len(prefix))


def found(cache: PrefixCache, *tokens: int) -> int:
    return cache.match(array("i", tokens), "", len(tokens)).tokens


def evict(cache: PrefixCache, pages: int) -> None:
    """Take that many pages beyond the free ones, and give them back unused."""
    lease = cache.acquire(cache.match(array("i"), "", 0), "", 0, 0)
    assert cache.extend(lease, (len(cache.pool.free) + pages) * cache.page_size) is not None
    cache.release(lease, array("i"), 0)


def test_the_least_recently_used_prefix_goes_first() -> None:
    cache = PrefixCache(CacheConfig(pages=6, page_size=1))
    for first in (1, 2, 3):
        cache.tick()
        stored(cache, first, 9)
    cache.tick()
    stored(cache, 1, 9)  # used again
    evict(cache, 2)
    assert [found(cache, first, 9) for first in (1, 2, 3)] == [2, 0, 2]
    evict(cache, 2)
    assert [found(cache, first, 9) for first in (1, 2, 3)] == [2, 0, 0]


def test_ties_go_by_arrival() -> None:
    cache = PrefixCache(CacheConfig(pages=3, page_size=1))
    for first in (5, 4, 6):  # all in one step
        stored(cache, first)
    evict(cache, 1)
    assert [found(cache, first) for first in (5, 4, 6)] == [0, 1, 1]
    evict(cache, 1)
    assert [found(cache, first) for first in (5, 4, 6)] == [0, 0, 1]


def test_an_edge_is_forgotten_from_its_end() -> None:
    cache = PrefixCache(CacheConfig(pages=8, page_size=1))
    stored(cache, *range(8))
    evict(cache, 3)
    assert found(cache, *range(8)) == 5
    cache.check()


def test_answers_go_before_the_prompt_they_share() -> None:
    cache = PrefixCache(CacheConfig(pages=4, page_size=1))
    stored(cache, 1, 2, 30)
    stored(cache, 1, 2, 40)
    evict(cache, 2)
    assert (found(cache, 1, 2, 30), found(cache, 1, 2, 40)) == (2, 2)
    evict(cache, 2)
    assert found(cache, 1, 2) == 0


def test_what_was_locked_meanwhile_is_not_offered() -> None:
    evictor = LeastRecentlyUsed()
    tree = RadixTree(1, evictor.offer)
    tree.insert(tree.root, "", array("i", [1]), array("i", [0]))
    leaf = evictor.next()
    assert leaf is not None
    tree.lock(leaf)
    assert evictor.next() is None
    tree.unlock(leaf)
    assert evictor.next() is leaf


def test_stale_entries_do_not_pile_up() -> None:
    evictor = LeastRecentlyUsed()
    tree = RadixTree(1, evictor.offer)
    tree.insert(tree.root, "", array("i", [1]), array("i", [0]))
    leaf = evictor.next()
    assert leaf is not None
    for step in range(10_000):
        tree.step = step
        tree.lock(leaf)
        tree.unlock(leaf)
    assert len(evictor._heap) < 100
    assert evictor.next() is leaf
