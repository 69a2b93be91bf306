"""All that a scheduler sees of the cache: Hit -> Lease -> extend, publish -> release."""

from array import array
from dataclasses import dataclass
from typing import NamedTuple

from stemma.control.cache.evict import LeastRecentlyUsed
from stemma.control.cache.pages import PagePool
from stemma.control.cache.radix import Hit, Node, RadixTree
from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import CacheConfig
from stemma.core.types.step import NO_PAGE


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence, in the order of its positions. Owned by the PrefixCache.

    Always: the first `published` pages are exactly those of the tree on the way to `node`; that of the
    `tail` follows, if there is one; the others are private. `room` says in tokens how many pages it has.
    """

    pages: "array[int]"
    room: int  # tokens that the pages hold
    most: int  # pages that it may come to have
    published: int
    began: int  # tokens in whole pages that were found when it began
    asked: int  # tokens that were known when it began: others may begin like them, to the last
    border: int  # once so many tokens have landed, more can be published
    node: Node
    salt: str
    tail: Node | None = None  # others may copy from this page what it says, while the lease writes behind that
    ended: bool = False


class Shared(NamedTuple):
    """Where a lease begins inside a page."""

    tokens: int = 0  # of that page
    source: int = NO_PAGE  # where they are to be copied from; NO_PAGE: they are there


class PrefixCache:
    """Pages, and the prefixes that they hold.

    Always: free + in the tree + private to a lease == all.
    """

    def __init__(self, config: CacheConfig):
        self.page_size = config.page_size
        self.radix = config.radix
        self.pool = PagePool(config.pages)
        self.leases: dict[Lease, None] = {}
        self.owed = 0  # pages that leases may take yet, were all to live as long as they may
        self._empty()

    @property
    def available(self) -> int:
        """Pages that can be had now: free ones, and those only the tree holds."""
        return len(self.pool.free) + self.evictable

    @property
    def evictable(self) -> int:
        return self.tree.pages - self.tree.locked

    def tick(self) -> None:
        """A step begins: the only clock of eviction."""
        self.tree.step += 1

    def match(self, tokens: "array[int]", salt: str, limit: int) -> Hit:
        """The longest prefix of whole pages, at most `limit` tokens. To be acquired at once or not at all."""
        return self.tree.match(tokens, salt, limit)

    def acquire(self, hit: Hit, salt: str, asked: int, end: int) -> Lease:
        """A lease that begins with a hit: of a sequence of `asked` tokens, which ends after `end` at the latest."""
        node = self.tree.end(hit)
        self.tree.lock(node)
        published, most = len(hit.pages), ceil_div(end, self.page_size)
        border = self._border(published, asked, hit.tokens)
        lease = Lease(hit.pages, hit.tokens, most, published, hit.tokens, asked, border, node, salt)
        self.owed += most - published
        self.leases[lease] = None
        return lease

    def share(self, lease: Lease, tokens: "array[int]", limit: int) -> Shared:
        """Let a lease that was just acquired begin inside a page, if another begins like its next tokens.

        A tail that nobody goes on from is taken over; of every other page the lease gets a copy. Its source need not
        be held: a step copies before it writes, and steps are computed in the order of their plans. So whoever gets
        the source next writes to it later, and what was findable when a step was planned had landed before.
        """
        start = lease.room
        next_tokens = tokens[start : min(limit, start + self.page_size)]
        near, same = self.tree.nearest(lease.node, (lease.salt, next_tokens.tobytes()))
        if near is None:
            return Shared()
        if near.is_evictable and same == len(near.tokens):
            self.tree.adopt(near)
            lease.tail = near
            lease.pages.append(near.pages[0])
            lease.room += self.page_size
            self.owed -= 1
            return Shared(same)
        self.tree.lock(near)  # it was used now, and is not evicted for its own copy
        pages = self.extend(lease, start + same)
        self.tree.unlock(near)
        return Shared(same, near.pages[0]) if pages else Shared()

    def reach(self, lease: Lease) -> int:
        """Tokens for which the lease could have pages, were it to take all that can be had."""
        return lease.room + self.available * self.page_size

    def widen(self, leases: list[Lease]) -> list[int]:
        """A page more for each, now its own; for the first ones only, when there are fewer."""
        count = min(len(leases), self.available)
        pages = self._take(count)
        for lease, page in zip(leases, pages, strict=False):
            lease.pages.append(page)
            lease.room += self.page_size
        self.owed -= count
        return pages

    def extend(self, lease: Lease, tokens: int) -> tuple[int, ...] | None:
        """The pages that the lease lacks to hold `tokens` tokens, now its own. None, and none taken: out of pages."""
        if tokens <= lease.room:
            return ()
        missing = ceil_div(tokens - lease.room, self.page_size)
        if missing > self.available:
            return None
        pages = self._take(missing)
        lease.pages.extend(pages)
        lease.room += missing * self.page_size
        self.owed -= missing
        return tuple(pages)

    def publish(self, lease: Lease, tokens: "array[int]", landed: int) -> None:
        """Let others find the full pages among the first `landed` tokens, and behind all that was asked the rest.

        Where another sequence was faster, the lease keeps its own pages to itself until it is released.
        """
        if landed < lease.border or not self.radix:
            return
        self._grow(lease, tokens, landed)
        begin = lease.published * self.page_size
        if lease.asked <= landed and begin < landed < begin + self.page_size:
            page = lease.pages[lease.published]
            lease.tail = self.tree.lend(lease.node, lease.salt, tokens[begin:landed], page)
        lease.border = self._border(lease.published, lease.asked, landed)

    def release(self, lease: Lease, tokens: "array[int]", landed: int) -> None:
        """End the lease. Pages of the first `landed` tokens stay findable, the others are free."""
        if lease.ended:
            raise Bug(f"a lease of {len(lease.pages)} pages was released twice")
        lease.ended = True
        if self.radix:
            self._grow(lease, tokens, landed)
        self.owed -= lease.most - len(lease.pages)
        del self.leases[lease]
        first = lease.published
        kept = max(first, ceil_div(landed, self.page_size)) if self.radix else first
        if kept > first:
            new_tokens = tokens[first * self.page_size : landed]
            self.pool.give_back(self.tree.insert(lease.node, lease.salt, new_tokens, lease.pages[first:kept]))
        self.pool.give_back(lease.pages[kept:])
        self.tree.unlock(lease.node)

    def forget(self) -> None:
        """Empty the tree. There must be no leases."""
        if self.leases:
            raise Bug(f"the cache cannot be emptied under {len(self.leases)} leases")
        for node in self.tree.nodes():
            self.pool.give_back(node.pages)
        self._empty()

    def check(self) -> None:
        """Raise Bug when a page is lost or held twice, or a lock has no owner."""
        self.pool.check()
        if self.owed != sum(lease.most - len(lease.pages) for lease in self.leases):
            raise Bug(f"{self.owed} pages are said to be owed to {len(self.leases)} leases")
        ends: dict[Node, int] = {}
        held = self.pool.free.copy()
        for lease in self.leases:
            end, private = lease.node, lease.published
            if lease.tail is not None:
                end, private = lease.tail, private + 1
                if end.parent is not lease.node or end.pages != lease.pages[private - 1 : private]:
                    raise Bug("the tail of a lease does not hang where its published pages end")
            ends[end] = ends.get(end, 0) + 1
            held.extend(lease.pages[private:])
            if lease.room != len(lease.pages) * self.page_size:
                raise Bug(f"a lease of {len(lease.pages)} pages counts {lease.room} tokens")
            if lease.border not in (lease.asked, (lease.published + 1) * self.page_size):
                raise Bug(f"a lease of {lease.published} published pages waits for {lease.border} tokens")
            if _pages_above(lease.node) != lease.pages[: lease.published]:
                raise Bug("the published pages of a lease are not those on its way through the tree")
        for node in self.tree.nodes():
            held.extend(node.pages)
        if sorted(held) != list(range(self.pool.pages)):
            raise Bug(f"of {self.pool.pages} pages, {len(held)} are held, {len(set(held))} different ones")
        self.tree.check(ends)

    def _border(self, published: int, asked: int, landed: int) -> int:
        end = (published + 1) * self.page_size
        return asked if landed < asked < end else end

    def _grow(self, lease: Lease, tokens: "array[int]", landed: int) -> None:
        """Move full pages, and with them what was a tail, from the lease to the tree, unless they are there already."""
        if lease.tail is not None:
            self.tree.take_back(lease.tail)
            lease.tail = None
        first, full = lease.published, landed // self.page_size
        if full > first:
            new_tokens = tokens[first * self.page_size : full * self.page_size]
            node = self.tree.grow(lease.node, lease.salt, new_tokens, lease.pages[first:full])
            if node is not None:
                lease.node, lease.published = node, full

    def _empty(self) -> None:
        self.evictor = LeastRecentlyUsed()
        self.tree = RadixTree(self.page_size, self.evictor.offer)

    def _take(self, count: int) -> list[int]:
        """So many pages, which are available."""
        pages = count - len(self.pool.free)
        while pages > 0:
            leaf = self.evictor.next()
            if leaf is None:
                raise Bug(f"{self.evictable} pages count as evictable and none was offered")
            cut = self.tree.trim(leaf, min(pages, len(leaf.pages)))
            pages -= len(cut)
            self.pool.give_back(cut)
        return self.pool.take(count)


def _pages_above(node: Node) -> "array[int]":
    pages = array("i")
    above: Node | None = node
    while above is not None:
        pages = above.pages + pages
        above = above.parent
    return pages
