"""PrefixCache against a dict of what is findable, and the lifetimes of leases."""

from array import array
from dataclasses import dataclass
from random import Random

import pytest

from stemma.control.cache.prefix import Lease, PrefixCache, Shared
from stemma.control.cache.radix import Node
from stemma.core.base.errors import Bug
from stemma.core.config.engine import CacheConfig
from stemma.core.types.step import NO_PAGE
from tests.unit.control.cache.prefixes import Prefix, most_common

SALTS = ("", "a tenant")


def findable(cache: PrefixCache) -> dict[Prefix, int]:
    found: dict[Prefix, int] = {}
    above: dict[Node, tuple[int, ...]] = {cache.tree.root: ()}
    for node in cache.tree.nodes():
        assert node.parent is not None
        tokens = above[node.parent] + tuple(node.tokens)
        for place, page in enumerate(node.pages):
            end = len(tokens) - (len(node.pages) - place - 1) * cache.page_size
            found[node.key[0], tokens[:end]] = page
        above[node] = tokens
    return found


@dataclass
class Holder:
    lease: Lease
    tokens: "array[int]"
    salt: str
    shared: int  # pages of its prefix that are its own and findable
    asked: int
    landed: int
    border: int = 0  # what it publishes next is worth a look from here on
    tail: Prefix | None = None  # findable too, in the page behind them

    @property
    def private(self) -> int:
        return len(self.lease.pages) - self.shared - (self.tail is not None)


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
        self.copies = self.taken = 0

    def prefixes(self, holder: Holder, first: int, last: int) -> list[tuple[Prefix, int]]:
        """Of pages first .. last - 1: the whole prefix that each ends, and the holder's page for it."""
        return [
            ((holder.salt, tuple(holder.tokens[: (place + 1) * self.size])), holder.lease.pages[place])
            for place in range(first, last)
        ]

    def come(self) -> None:
        tokens = array("i", [self.random.randrange(2) for _ in range(self.random.randrange(1, 8 * self.size))])
        salt = self.random.choice(SALTS)
        if self.model and self.random.random() < 0.5:  # goes on from somebody
            salt, before = self.random.choice(list(self.model))
            tokens = array("i", before) + tokens[:3]
        asked = self.random.randrange(1, len(tokens) + 1)
        hit = self.cache.match(tokens, salt, asked - 1)
        found = len(hit.pages)
        lease = self.cache.acquire(hit, salt, asked, len(tokens))
        holder = Holder(lease, tokens, salt, found, asked, hit.tokens)
        full = 0
        while full + self.size < asked and (salt, tuple(tokens[: full + self.size])) in self.model:
            full += self.size
        assert hit.tokens == full
        assert all(self.model[prefix] == page for prefix, page in self.prefixes(holder, 0, found))
        self.set_border(holder)
        self.holders.append(holder)
        if self.random.random() < 0.8:
            self.share(holder)

    def share(self, holder: Holder) -> None:
        start, before, free = holder.landed, findable(self.cache), len(self.cache.pool.free)
        asked = tuple(holder.tokens[: holder.asked - 1])
        most = most_common(self.model, self.size, holder.salt, start, asked)
        lent = [other.tail for other in self.holders if other.tail is not None]
        shared = self.cache.share(holder.lease, holder.tokens, holder.asked - 1)
        self.model = findable(self.cache)
        gone = [prefix for prefix in before if prefix not in self.model]
        self.check_gone(gone)
        if shared.tokens == 0:
            assert most == 0 or free == 0, "there is something to copy, and a page for the copy"
            assert shared.source == NO_PAGE and not gone
            return
        assert shared.tokens == most
        end = holder.salt, asked[: start + most]
        if shared.source == NO_PAGE:
            assert end not in lent and holder.lease.pages[-1] == before[end] and not gone
            holder.tail, holder.landed = end, start + most
            self.taken += 1
        else:
            assert len(gone) == (free == 0)
            self.copies += 1
            assert shared.source in [
                page
                for (salt, prefix), page in self.model.items()
                if salt == holder.salt and prefix[: start + most] == end[1] and len(prefix) <= start + self.size
            ]

    def set_border(self, holder: Holder) -> None:
        end = (holder.shared + 1) * self.size
        holder.border = holder.asked if holder.landed < holder.asked < end else end

    def check_gone(self, gone: list[Prefix]) -> None:
        kept = [prefix for other in self.holders for prefix, _ in self.prefixes(other, 0, other.shared)]
        assert not set(gone) & {*kept, *(other.tail for other in self.holders)}

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
        self.check_gone(gone)
        assert after.items() <= before.items()
        self.model = after

    def widen(self) -> None:
        few = self.random.sample(self.holders, min(3, len(self.holders)))
        few = [holder for holder in few if len(holder.lease.pages) < holder.lease.most]
        before, free, available = findable(self.cache), len(self.cache.pool.free), self.cache.available
        pages = self.cache.widen([holder.lease for holder in few])
        assert len(pages) == min(len(few), available)
        assert pages == [holder.lease.pages[-1] for holder in few[: len(pages)]]
        self.model = findable(self.cache)
        gone = [prefix for prefix in before if prefix not in self.model]
        assert len(gone) == max(0, len(pages) - free)
        self.check_gone(gone)

    def publish(self) -> None:
        if not self.holders:
            return
        holder = self.random.choice(self.holders)
        landed = self.land(holder)
        self.cache.publish(holder.lease, holder.tokens, landed)
        if landed < holder.border or not self.radix:
            return
        self.take_tail(holder)
        new = self.prefixes(holder, holder.shared, landed // self.size)
        if new and new[0][0] not in self.model:
            self.model |= dict(new)
            holder.shared = landed // self.size
        begin = holder.shared * self.size
        if holder.asked <= landed and begin < landed < begin + self.size and not self.is_found(holder, landed):
            holder.tail = holder.salt, tuple(holder.tokens[:landed])
            self.model[holder.tail] = holder.lease.pages[holder.shared]
        self.set_border(holder)

    def land(self, holder: Holder) -> int:
        most = min(len(holder.tokens), len(holder.lease.pages) * self.size)
        holder.landed = self.random.randrange(holder.landed, max(most, holder.landed) + 1)
        return holder.landed

    def take_tail(self, holder: Holder) -> None:
        if holder.tail is not None:
            del self.model[holder.tail]
            holder.tail = None

    def is_found(self, holder: Holder, landed: int) -> bool:
        start = landed - landed % self.size
        tokens = tuple(holder.tokens[:landed])
        return most_common(self.model, self.size, holder.salt, start, tokens) == landed - start

    def go(self) -> None:
        if not self.holders:
            return
        holder = self.holders.pop(self.random.randrange(len(self.holders)))
        landed = self.land(holder)
        self.cache.release(holder.lease, holder.tokens, landed)
        self.take_tail(holder)
        if self.radix:
            full = landed // self.size
            self.model = dict(self.prefixes(holder, holder.shared, full)) | self.model
            if landed % self.size and not self.is_found(holder, landed):
                self.model[holder.salt, tuple(holder.tokens[:landed])] = holder.lease.pages[full]

    def step(self) -> None:
        self.cache.tick()
        self.random.choice([self.come, self.extend, self.extend, self.widen, self.publish, self.go])()
        self.random.shuffle(self.cache.pool.free)
        self.cache.check()
        assert findable(self.cache) == self.model
        private = sum(holder.private for holder in self.holders)
        assert len(self.cache.pool.free) + len(self.model) + private == self.pages


@pytest.mark.parametrize("group", range(20))
def test_agrees_with_a_dict_of_what_is_findable(group: int) -> None:
    copies = taken = 0
    for seed in range(group * 100, (group + 1) * 100):
        walk = Walk(seed)
        for _ in range(40):
            walk.step()
        while walk.holders:
            walk.go()
        copies, taken = copies + walk.copies, taken + walk.taken
        assert walk.cache.available == walk.pages
        walk.cache.forget()
        walk.cache.check()
        assert len(walk.cache.pool.free) == walk.pages
    assert copies > 20 and taken > 3


def cache_of(pages: int = 8, page_size: int = 2, radix: bool = True) -> PrefixCache:
    return PrefixCache(CacheConfig(pages=pages, page_size=page_size, radix=radix))


def lease_of(cache: PrefixCache, tokens: "array[int]", salt: str = "", asked: int | None = None) -> Lease:
    hit = cache.match(tokens, salt, len(tokens))
    lease = cache.acquire(hit, salt, len(tokens) if asked is None else asked, len(tokens))
    assert cache.extend(lease, len(tokens)) is not None
    return lease


def lease_inside(cache: PrefixCache, tokens: "array[int]", salt: str = "") -> tuple[Lease, Shared]:
    """Of a sequence that computes at least its last token."""
    limit = len(tokens) - 1
    lease = cache.acquire(cache.match(tokens, salt, limit), salt, len(tokens), len(tokens))
    return lease, cache.share(lease, tokens, limit)


def test_a_salt_keeps_tenants_apart() -> None:
    cache, tokens = cache_of(), array("i", [1, 2, 3, 4])
    cache.release(lease_of(cache, tokens, "one"), tokens, 4)
    assert cache.match(tokens, "one", 4).tokens == 4
    assert cache.match(tokens, "two", 4).tokens == 0
    assert cache.match(tokens, "", 4).tokens == 0


def test_what_has_landed_is_found_by_full_pages_and_to_the_last_token_that_was_asked() -> None:
    cache, tokens = cache_of(page_size=4), array("i", range(11))
    lease = lease_of(cache, tokens, asked=10)
    tails = []
    for landed, full in ((7, 4), (9, 8), (10, 8)):
        cache.publish(lease, tokens, landed)
        assert cache.match(tokens, "", 11).tokens == full
        tails.append(lease.tail and lease.tail.tokens)
    assert tails == [None, None, tokens[8:10]]
    assert cache.match(tokens, "", 7).tokens == 4
    assert cache.evictable == 0
    cache.release(lease, tokens, 11)
    assert cache.available == 8 and cache.evictable == 3
    cache.check()


def test_a_tail_is_taken_over_by_one_and_copied_for_the_others() -> None:
    cache, tokens = cache_of(page_size=4), array("i", range(7))
    cache.release(lease_of(cache, tokens[:6]), tokens, 6)
    found = cache.match(tokens, "", 6).pages
    first, shared = lease_inside(cache, tokens)
    assert (shared.tokens, shared.source) == (2, NO_PAGE)
    second, shared = lease_inside(cache, tokens)
    assert (shared.tokens, shared.source) == (2, first.pages[1])
    assert first.pages[:1] == second.pages[:1] == found and first.pages[1] != second.pages[1]
    cache.release(second, tokens, 4)  # its copy was never made
    cache.check()
    _, shared = lease_inside(cache, tokens, salt="other")
    assert shared == Shared()
    cache.release(first, tokens, 6)
    third, shared = lease_inside(cache, tokens)
    assert shared == Shared(2) and third.pages == first.pages
    cache.check()


def test_a_page_that_goes_on_otherwise_is_copied() -> None:
    cache, tokens = cache_of(page_size=4), array("i", [1, 2, 3, 4, 5, 6, 7, 8])
    cache.release(lease_of(cache, tokens), tokens, 8)
    _, page = cache.match(tokens, "", 8).pages
    for other, count in ([1, 2, 3, 4, 5, 6, 9, 9], 2), ([1, 2, 3, 4, 5, 6, 7, 8], 3), ([1, 2, 3, 4, 9], 0):
        lease, shared = lease_inside(cache, array("i", other))
        assert shared == (Shared(count, page) if count else Shared())
        cache.release(lease, array("i", other), 4)
        cache.check()


def test_no_page_is_evicted_for_its_own_copy() -> None:
    cache, tokens = cache_of(pages=2, page_size=4), array("i", [1, 2, 3, 4, 5, 6, 7, 8])
    cache.release(lease_of(cache, tokens[:4]), tokens, 4)
    other = lease_of(cache, array("i", [9]))  # the last page
    lease, shared = lease_inside(cache, array("i", [1, 2, 3, 9]))
    assert shared == Shared() and cache.evictable == 1
    assert cache.extend(lease, 4) is not None  # what is computed may take it
    cache.check()
    cache.release(other, array("i", [9]), 1)


def test_a_copy_counts_as_a_use() -> None:
    cache = cache_of(pages=4, page_size=4)
    for first in (1, 2):
        cache.tick()
        cache.release(lease_of(cache, array("i", [first] * 4)), array("i", [first] * 4), 4)
    cache.tick()
    lease, shared = lease_inside(cache, array("i", [1, 1, 5]))
    assert shared.tokens == 2
    cache.release(lease, array("i", [1, 1, 5]), 0)
    lease_of(cache, array("i", [9] * 12))
    assert cache.match(array("i", [1] * 4), "", 4).tokens == 4


def test_what_another_published_meanwhile_is_not_hung_twice() -> None:
    cache, tokens = cache_of(page_size=4), array("i", range(8))
    cache.release(lease_of(cache, tokens[:6]), tokens, 6)
    first, _ = lease_inside(cache, tokens)
    second, _ = lease_inside(cache, tokens)
    assert cache.extend(second, 8) is not None
    cache.publish(second, tokens, 8)
    assert second.published == 2
    cache.publish(first, tokens, 8)  # its tail is no longer needed, and its page is its own
    assert (first.published, first.tail) == (1, None)
    cache.check()
    cache.release(first, tokens, 7)
    cache.release(second, tokens, 8)
    assert cache.evictable == 2
    cache.check()


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


def test_leases_widen_as_far_as_there_are_pages() -> None:
    cache, tokens = cache_of(pages=4), array("i", range(8))
    leases = [cache.acquire(cache.match(tokens, "", 0), "", 1, 4) for _ in range(3)]
    cache.release(lease_of(cache, tokens[:6]), tokens, 6)
    pages = cache.widen(leases[:2])
    assert [lease.pages.tolist() for lease in leases] == [pages[:1], pages[1:], []]
    assert [lease.room for lease in leases] == [2, 2, 0] and cache.match(tokens, "", 8).tokens == 4
    assert len(cache.widen(leases[1:])) == 2 and cache.match(tokens, "", 8).tokens == 0
    assert [len(lease.pages) for lease in leases] == [1, 2, 1]
    assert cache.widen(leases[:1]) == [] and cache.available == 0
    cache.check()


def test_check_sees_a_lost_page() -> None:
    cache = cache_of()
    assert cache.pool.take(1) is not None
    with pytest.raises(Bug, match="7 are held"):
        cache.check()
