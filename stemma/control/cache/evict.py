"""In which order cached prefixes are forgotten."""

from heapq import heapify, heappop, heappush

from stemma.control.cache.radix import Node


class LeastRecentlyUsed:
    """The leaf whose last use lies furthest back goes first; ties go by arrival. Time is counted in steps.

    Entries are not taken out when a leaf is locked, grows children or is used again: they are found
    stale when they come up, and swept when most are.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # (used, arrival)
        self._leaves: dict[int, Node] = {}  # by arrival

    def offer(self, leaf: Node) -> None:
        """The leaf may be evicted from now on."""
        self._leaves[leaf.arrival] = leaf
        heappush(self._heap, (leaf.used, leaf.arrival))
        if len(self._heap) > 64 + 2 * len(self._leaves):
            self._sweep()

    def next(self) -> Node | None:
        while self._heap:
            used, arrival = self._heap[0]
            leaf = self._leaves.get(arrival)
            if leaf is not None and leaf.is_evictable and leaf.used == used:
                return leaf
            heappop(self._heap)
            if leaf is not None and not leaf.is_evictable:
                del self._leaves[arrival]
        return None

    def _sweep(self) -> None:
        self._leaves = {arrival: leaf for arrival, leaf in self._leaves.items() if leaf.is_evictable}
        self._heap = [(leaf.used, arrival) for arrival, leaf in self._leaves.items()]
        heapify(self._heap)
