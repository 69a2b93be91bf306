"""PrefixCache against a dict of what is findable, and the lifetimes of leases."""

from array import array
from dataclasses import dataclass
from random import Random

import pytest

from stemma.control.cache.prefix import Lease, PrefixCache
from stemma.control.cache.radix import Node
from stemma.core.base.errors import Bug
from stemma.core.config.engine import CacheConfig

Prefix = tuple[str, tuple[int, ...]]
SALTS = ("", "a tenant")


def findable(cache: PrefixCache) -> dict[Prefix, int]:
    found: dict[Prefix, int] = {}
    above: dict[Node, tuple[int, ...]] = {cache.tree.root: ()}
    for node in cache.tree.nodes():
        assert node.parent is not None
        tokens = above[node.parent] + tuple(node.tokens)
        for place, page in enumerate(node.pages):
            end = len(tokens) - (len(node.pages) - place - 1) * cache.page_size
            found[node.salt, tokens[:end]] = page
        above[node] = tokens
    return found


@dataclass
class Holder:
    lease: Lease
    tokens: "array[int]"
    salt: str
    shared: int  # pages of its prefix that are its own and findable


class Walk:
    """Random sequences that come, compute, publish and go."""

    def __init__(self, seed: int):
        self.random = Random(seed)
        self.size = self.random.choice([1, 2, 4])
        self.pages = self.random.randrange(4, 24)
        self.radix = self.random.random() < 0.9
        self.cache = PrefixCache(CacheConfig(pages=self.pages, page_size=self.size, radix=self.radix))
        self.model: dict[Prefix, int] = {}
        self.holders: list[Holder] = []

    def prefixes(self, holder: Holder, first: int, last: int) -> list[tuple[Prefix, int]]:
        """Of pages first .. last - 1: the whole prefix that each ends, and the holder's page for it."""
        return [
            ((holder.salt, tuple(holder.tokens[: (place + 1) * self.size])), holder.lease.pages[place])
            for place in range(first, last)
        ]

    def come(self) -> None:
        tokens = array("i", [self.random.randrange(2) for _ in range(self.random.randrange(1, 8 * self.size))])
        salt = self.random.choice(SALTS)
        hit = self.cache.match(tokens, salt, len(tokens) - 1)
        holder = Holder(self.cache.acquire(hit, salt, len(tokens)), tokens, salt, len(hit.pages))
        full = 0
        while full + self.size < len(tokens) and (salt, tuple(tokens[: full + self.size])) in self.model:
            full += self.size
        assert hit.tokens == full
        assert all(self.model[prefix] == page for prefix, page in self.prefixes(holder, 0, len(hit.pages)))
        self.holders.append(holder)

    def extend(self) -> None:
        if not self.holders:
            return
        holder = self.random.choice(self.holders)
        tokens = self.random.randrange(len(holder.tokens) + 1)
        missing = max(0, -(-tokens // self.size) - len(holder.lease.pages))
        before, free, available = findable(self.cache), len(self.cache.pool.free), self.cache.available
        assert self.cache.reach(holder.lease) == (len(holder.lease.pages) + available) * self.size
        pages = self.cache.extend(holder.lease, tokens)
        assert (pages is None) == (missing > available)
        after = findable(self.cache)
        if pages is None:
            assert after == before
            return
        assert len(pages) == missing and list(pages) == list(holder.lease.pages[len(holder.lease.pages) - missing :])
        gone = [prefix for prefix in before if prefix not in after]
        assert len(gone) == max(0, missing - free)
        kept = [prefix for other in self.holders for prefix, _ in self.prefixes(other, 0, other.shared)]
        assert not set(gone) & set(kept)
        assert after.items() <= before.items()
        self.model = after

    def publish(self) -> None:
        if not self.holders:
            return
        holder = self.random.choice(self.holders)
        landed = self.random.randrange(min(len(holder.tokens), len(holder.lease.pages) * self.size) + 1)
        self.cache.publish(holder.lease, holder.tokens, landed)
        new = self.prefixes(holder, holder.shared, landed // self.size) if self.radix else []
        if new and new[0][0] not in self.model:
            self.model |= dict(new)
            holder.shared = landed // self.size

    def go(self) -> None:
        if not self.holders:
            return
        holder = self.holders.pop(self.random.randrange(len(self.holders)))
        landed = self.random.randrange(min(len(holder.tokens), len(holder.lease.pages) * self.size) + 1)
        self.cache.release(holder.lease, holder.tokens, landed)
        if self.radix:
            self.model = dict(self.prefixes(holder, holder.shared, landed // self.size)) | self.model

    def step(self) -> None:
        self.cache.tick()
        self.random.choice([self.come, self.extend, self.extend, self.publish, self.go])()
        self.random.shuffle(self.cache.pool.free)
        self.cache.check()
        assert findable(self.cache) == self.model
        private = sum(len(holder.lease.pages) - holder.shared for holder in self.holders)
        assert len(self.cache.pool.free) + len(self.model) + private == self.pages


@pytest.mark.parametrize("group", range(20))
def test_agrees_with_a_dict_of_what_is_findable(group: int) -> None:
    for seed in range(group * 100, (group + 1) * 100):
        walk = Walk(seed)
        for _ in range(40):
            walk.step()
        while walk.holders:
            walk.go()
        assert walk.cache.available == walk.pages
        walk.cache.forget()
        walk.cache.check()
        assert len(walk.cache.pool.free) == walk.pages


def cache_of(pages: int = 8, page_size: int = 2, radix: bool = True) -> PrefixCache:
    return PrefixCache(CacheConfig(pages=pages, page_size=page_size, radix=radix))


def lease_of(cache: PrefixCache, tokens: "array[int]", salt: str = "") -> Lease:
    lease = cache.acquire(cache.match(tokens, salt, len(tokens)), salt, len(tokens))
    assert cache.extend(lease, len(tokens)) is not None
    return lease


def test_a_salt_keeps_tenants_apart() -> None:
    cache, tokens = cache_of(), array("i", [1, 2, 3, 4])
    cache.release(lease_of(cache, tokens, "one"), tokens, 4)
    assert cache.match(tokens, "one", 4).tokens == 4
    assert cache.match(tokens, "two", 4).tokens == 0
    assert cache.match(tokens, "", 4).tokens == 0


def test_only_full_and_landed_pages_are_found() -> None:
    cache, tokens = cache_of(), array("i", [1, 2, 3, 4, 5])
    lease = lease_of(cache, tokens)
    cache.publish(lease, tokens, 3)
    assert cache.match(tokens, "", 5).tokens == 2
    cache.publish(lease, tokens, 5)
    assert cache.match(tokens, "", 5).tokens == 4
    assert cache.match(tokens, "", 3).tokens == 2
    cache.release(lease, tokens, 5)
    assert cache.available == 8 and cache.evictable == 2


def test_a_duplicate_stays_private_until_release() -> None:
    cache, tokens = cache_of(), array("i", [1, 2, 3, 4, 5, 6])
    fast, slow = lease_of(cache, tokens[:4]), lease_of(cache, tokens)
    cache.publish(fast, tokens, 4)
    cache.publish(slow, tokens, 6)
    assert (fast.published, slow.published) == (2, 0)
    assert cache.match(tokens, "", 6).pages == fast.pages
    cache.check()
    cache.release(slow, tokens, 6)  # its third page is new, its first two were not needed
    assert cache.match(tokens, "", 6).pages == fast.pages + slow.pages[2:]
    assert len(cache.pool.free) == 5
    cache.release(fast, tokens, 4)
    cache.check()


def test_a_lease_ends_once() -> None:
    cache = cache_of()
    lease = lease_of(cache, array("i", [1, 2]))
    cache.release(lease, array("i", [1, 2]), 0)
    with pytest.raises(Bug, match="released twice"):
        cache.release(lease, array("i", [1, 2]), 0)


def test_what_is_leased_is_neither_evicted_nor_forgotten() -> None:
    cache, tokens = cache_of(pages=2), array("i", [1, 2, 3, 4])
    lease = lease_of(cache, tokens)
    cache.publish(lease, tokens, 4)
    other = lease_of(cache, array("i"))
    assert cache.available == 0 and cache.extend(other, 1) is None
    with pytest.raises(Bug, match="2 leases"):
        cache.forget()


def test_without_the_tree_nothing_is_found() -> None:
    cache, tokens = cache_of(radix=False), array("i", [1, 2, 3, 4])
    lease = lease_of(cache, tokens)
    cache.publish(lease, tokens, 4)
    cache.release(lease, tokens, 4)
    assert cache.match(tokens, "", 4).tokens == 0
    assert len(cache.pool.free) == 8


def test_pages_are_made_ready_as_far_as_they_can_be() -> None:
    cache, tokens = cache_of(pages=4), array("i", range(8))
    cache.release(lease_of(cache, tokens), tokens, 8)
    cache.make_ready(2)
    assert len(cache.pool.free) == 2 and cache.match(tokens, "", 8).tokens == 4
    cache.make_ready(1)
    assert len(cache.pool.free) == 2
    lease_of(cache, tokens[:4])
    cache.make_ready(9)  # two are leased now
    assert len(cache.pool.free) == 2 and cache.match(tokens, "", 8).tokens == 4
    cache.check()


def test_check_sees_a_lost_page() -> None:
    cache = cache_of()
    assert cache.pool.take(1) is not None
    with pytest.raises(Bug, match="7 are held"):
        cache.check()
