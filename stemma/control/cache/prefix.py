"""All that a scheduler sees of the cache: Hit -> Lease -> extend, publish -> release."""

from array import array
from dataclasses import dataclass

from stemma.control.cache.evict import LeastRecentlyUsed
from stemma.control.cache.pages import PagePool
from stemma.control.cache.radix import Hit, Node, RadixTree
from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import CacheConfig


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence, in the order of its positions. Owned by the PrefixCache.

    Always: the first `published` pages are exactly those of the tree on the way to `node`; the
    others are private. `room` and `border` say in tokens what the two counts say in pages.
    """

    pages: "array[int]"
    room: int  # tokens that the pages hold
    most: int  # pages that it may come to have
    published: int
    border: int  # once so many tokens have landed, another page can be published
    node: Node
    salt: str
    ended: bool = False


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

    def acquire(self, hit: Hit, salt: str, end: int) -> Lease:
        """A lease that begins with the pages of a hit, of a sequence that ends after `end` tokens at the latest."""
        node = self.tree.end(hit)
        self.tree.lock(node)
        published, most = len(hit.pages), ceil_div(end, self.page_size)
        lease = Lease(hit.pages, hit.tokens, most, published, hit.tokens + self.page_size, node, salt)
        self.owed += most - published
        self.leases[lease] = None
        return lease

    def reach(self, lease: Lease) -> int:
        """Tokens for which the lease could have pages, were it to take all that can be had."""
        return lease.room + self.available * self.page_size

    def make_ready(self, pages: int) -> None:
        """Evict until so many pages are free, if it can be: one cut is cheaper than one for each page."""
        short = min(pages - len(self.pool.free), self.evictable)
        if short > 0:
            self._evict(short)

    def extend(self, lease: Lease, tokens: int) -> tuple[int, ...] | None:
        """The pages that the lease lacks to hold `tokens` tokens, now its own. None, and none taken: out of pages."""
        if tokens <= lease.room:
            return ()
        missing = ceil_div(tokens - lease.room, self.page_size)
        if missing > len(self.pool.free):
            if missing > self.available:
                return None
            self._evict(missing - len(self.pool.free))
        pages = self.pool.take(missing)
        if pages is None:
            raise Bug(f"{missing} pages were counted as available and could not be had")
        lease.pages.extend(pages)
        lease.room += missing * self.page_size
        self.owed -= missing
        return tuple(pages)

    def publish(self, lease: Lease, tokens: "array[int]", landed: int) -> None:
        """Let others find the full pages among the first `landed` tokens.

        Where another sequence was faster, the lease keeps its own pages to itself until it is released.
        """
        if landed < lease.border or not self.radix:
            return
        full = landed // self.page_size
        new_tokens = tokens[lease.published * self.page_size : full * self.page_size]
        node = self.tree.grow(lease.node, lease.salt, new_tokens, lease.pages[lease.published : full])
        if node is not None:
            lease.node, lease.published, lease.border = node, full, (full + 1) * self.page_size

    def release(self, lease: Lease, tokens: "array[int]", landed: int) -> None:
        """End the lease. Full pages among the first `landed` tokens stay findable, the others are free."""
        if lease.ended:
            raise Bug(f"a lease of {len(lease.pages)} pages was released twice")
        lease.ended = True
        self.publish(lease, tokens, landed)
        self.owed -= lease.most - len(lease.pages)
        del self.leases[lease]
        first = lease.published
        full = max(first, landed // self.page_size) if self.radix else first
        if full > first:
            new_tokens = tokens[first * self.page_size : full * self.page_size]
            self.pool.give_back(self.tree.insert(lease.node, lease.salt, new_tokens, lease.pages[first:full]))
        self.pool.give_back(lease.pages[full:])
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
            ends[lease.node] = ends.get(lease.node, 0) + 1
            held.extend(lease.pages[lease.published :])
            if (lease.room, lease.border) != (
                len(lease.pages) * self.page_size,
                (lease.published + 1) * self.page_size,
            ):
                raise Bug(
                    f"a lease of {len(lease.pages)} pages, {lease.published} published, counts {lease.room} tokens"
                )
            if _pages_above(lease.node) != lease.pages[: lease.published]:
                raise Bug("the published pages of a lease are not those on its way through the tree")
        for node in self.tree.nodes():
            held.extend(node.pages)
        if sorted(held) != list(range(self.pool.pages)):
            raise Bug(f"of {self.pool.pages} pages, {len(held)} are held, {len(set(held))} different ones")
        self.tree.check(ends)

    def _empty(self) -> None:
        self.evictor = LeastRecentlyUsed()
        self.tree = RadixTree(self.page_size, self.evictor.offer)

    def _evict(self, pages: int) -> None:
        while pages > 0:
            leaf = self.evictor.next()
            if leaf is None:
                raise Bug(f"{self.evictable} pages count as evictable and none was offered")
            cut = self.tree.trim(leaf, min(pages, len(leaf.pages)))
            pages -= len(cut)
            self.pool.give_back(cut)


def _pages_above(node: Node) -> "array[int]":
    pages = array("i")
    above: Node | None = node
    while above is not None:
        pages = above.pages + pages
        above = above.parent
    return pages
