"""The waiting line and its orders."""

from collections.abc import Callable, Generator, Iterator
from heapq import heapify, heappop, heappush
from random import Random

from stemma.control.cache.prefix import PrefixCache
from stemma.control.cache.radix import Node
from stemma.control.scheduler.sequence import Sequence
from stemma.core.config.engine import Policy

MOST_MATCHED = 128  # a longer queue is not asked what it finds in the cache

Entry = tuple[int, float, int]  # (-rank, place within the rank, arrival)


class Queue:
    """Those who wait. Owned by the Scheduler.

    Joining, leaving and the next in line cost a logarithm, however many wait. The orders that look
    into the cache (lpm, dfs-weight) do so for at most `MOST_MATCHED`; a longer queue goes by arrival.
    """

    def __init__(self, policy: Policy, seed: int):
        random = Random(seed)
        places: dict[Policy, Callable[[Sequence], float]] = {
            "lof": lambda sequence: sequence.prompt_len - sequence.limit,
            "random": lambda sequence: random.random(),
            "priority": lambda sequence: -sequence.request.priority,
        }
        arranges: dict[Policy, Callable[[list[Sequence], PrefixCache], list[Sequence]]] = {
            "lpm": _longest_prefix_first,
            "dfs-weight": _along_the_tree,
        }
        self._place: Callable[[Sequence], float] = places.get(policy, lambda sequence: 0.0)
        self._arrange = arranges.get(policy)
        self._waiting: dict[int, Sequence] = {}  # by arrival
        self._heap: list[Entry] = []  # may hold entries of those who left

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Sequence]:
        """In no order that matters."""
        return iter(self._waiting.values())

    def push(self, sequence: Sequence) -> None:
        self._waiting[sequence.arrival] = sequence
        heappush(self._heap, (-sequence.rank, self._place(sequence), sequence.arrival))

    def remove(self, sequence: Sequence) -> None:
        del self._waiting[sequence.arrival]
        if len(self._heap) > 64 + 2 * len(self._waiting):
            self._heap = [entry for entry in self._heap if entry[-1] in self._waiting]
            heapify(self._heap)

    def in_order(self, cache: PrefixCache) -> Generator[Sequence]:
        """The next in line first. The caller removes whom it seats, and closes the iterator."""
        if self._arrange is not None and cache.radix and len(self._waiting) <= MOST_MATCHED:
            yield from self._arrange(list(self._waiting.values()), cache)
            return
        passed: list[Entry] = []
        try:
            while self._heap:
                entry = heappop(self._heap)
                sequence = self._waiting.get(entry[-1])
                if sequence is not None:
                    passed.append(entry)
                    yield sequence
        finally:
            for entry in passed:
                if entry[-1] in self._waiting:
                    heappush(self._heap, entry)


def _longest_prefix_first(waiting: list[Sequence], cache: PrefixCache) -> list[Sequence]:
    def place(sequence: Sequence) -> tuple[int, int, int]:
        hit = cache.match(sequence.tokens, sequence.request.salt, sequence.hit_limit)
        return -sequence.rank, -hit.tokens, sequence.arrival

    return sorted(waiting, key=place)


def _along_the_tree(waiting: list[Sequence], cache: PrefixCache) -> list[Sequence]:
    """Depth first, the subtree that most wait for first: neighbours in the tree are served together."""
    paths = []
    weight: dict[Node, int] = {}
    for sequence in waiting:
        node: Node | None = cache.match(sequence.tokens, sequence.request.salt, sequence.hit_limit).node
        path = []
        while node is not None:
            path.append(node)
            weight[node] = weight.get(node, 0) + 1
            node = node.parent
        paths.append((sequence, path[::-1]))

    def place(item: tuple[Sequence, list[Node]]) -> tuple[int, list[tuple[int, int]], int]:
        sequence, path = item
        # The mark at the end lets those below a node go before those who end at it.
        return -sequence.rank, [*((-weight[node], node.arrival) for node in path), (0, 0)], sequence.arrival

    return [sequence for sequence, _ in sorted(paths, key=place)]
