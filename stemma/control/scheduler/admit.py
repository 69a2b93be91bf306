"""Seat those who wait."""

from contextlib import closing

from stemma.control.cache.prefix import Lease, PrefixCache
from stemma.control.cache.radix import Hit, Node
from stemma.control.scheduler.advance import Advance
from stemma.control.scheduler.budget import Draft, TokenRatio
from stemma.control.scheduler.preempt import Preemption
from stemma.control.scheduler.queue import Queue
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence
from stemma.core.base.numbers import round_up

SHARED_TOKENS = 32  # a prefix this long is worth waiting for
MOST_PASSED = 32  # how many may be passed over in a step because they wait for a prefix

Stretch = tuple[Node, str, bytes]  # where it hangs in the tree, salt, tokens


class Admission:
    """Gives rows and pages to those who wait, as long as all who are seated are expected to get through.

    Bytes are never promised twice, lengths are: a request is charged for its prompt and its expected
    output, and preemption pays for wrong guesses. The line stops at the first who does not fit.

    Whoever waits for a prefix that a seated sequence is computing is passed over until it is there.
    """

    def __init__(
        self,
        cache: PrefixCache,
        queue: Queue,
        seats: Seats,
        ratio: TokenRatio,
        advance: Advance,
        preemption: Preemption,
    ):
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._promised: int | None = None  # pages that the seated are expected to take yet; None: not counted
        self._cache = cache
        self._queue = queue
        self._seats = seats
        self._ratio = ratio
        self._advance = advance
        self._preemption = preemption
        self._stretch = round_up(SHARED_TOKENS, cache.page_size)

    def into(self, draft: Draft) -> None:
        if not self._queue or not draft.tokens or not (self._seats.free or self._preemption.by_rank):
            return
        self._promised = None
        # Whoever publishes a stretch next has this much to land; mostly these are few, and to look is cheap.
        # Plain decodes publish nothing before they end.
        least = self._stretch - self._cache.page_size
        coming = {
            self._coming(each)
            for each in self._seats.seated
            if not each.plain_lands and len(each.tokens) - each.landed > least
        }
        passed = 0
        with closing(self._queue.in_order(self._cache)) as line:
            for sequence in line:
                if (stretch := self._next(sequence)) is not None and stretch in coming:
                    passed += 1
                elif self._seat(sequence, draft):
                    coming.add(self._coming(sequence))
                else:
                    return
                if not draft.tokens or passed == MOST_PASSED:
                    return

    def _seat(self, sequence: Sequence, draft: Draft) -> bool:
        while True:
            short = 0
            if self._seats.free:
                lease = self._cache.acquire(self._hit(sequence), sequence.request.salt, sequence.end)
                short = self._short(sequence, lease)
                if short <= 0:
                    break
                self._cache.release(lease, sequence.tokens, 0)
            if not self._preemption.make_way(sequence, short):
                return False
            self._promised = None
        self._queue.remove(sequence)
        self._seats.sit(sequence, lease)
        if sequence.cached is None:
            sequence.cached = min(sequence.planned, sequence.prompt_len)
            self.prompt_tokens += sequence.prompt_len
            self.cached_tokens += sequence.cached
        draft.seats.append(sequence.seat())
        self._advance.compute(sequence, draft)
        if self._promised is not None:
            self._promised += self._demand(sequence, lease)
        return True

    def _short(self, sequence: Sequence, lease: Lease) -> int:
        """How many pages too few there are for it and all who are seated."""
        available = self._cache.available
        if self._cache.owed <= available:  # enough for the longest lives of all: no need to guess how they go
            return 0
        if self._promised is None:
            self._promised = sum(self._demand(each, each.held) for each in self._seats.seated)
        return self._demand(sequence, lease) + self._promised - available

    def _demand(self, sequence: Sequence, lease: Lease) -> int:
        """Pages that it is still expected to take."""
        return max(0, self._ratio.expected_pages(sequence) - len(lease.pages))

    def _hit(self, sequence: Sequence) -> Hit:
        return self._cache.match(sequence.tokens, sequence.request.salt, sequence.hit_limit)

    def _coming(self, seated: Sequence) -> Stretch | None:
        """What a seated sequence will publish next, if it is long enough to wait for."""
        lease = seated.held
        start = lease.published * self._cache.page_size
        if not self._cache.radix or len(seated.tokens) - start < self._stretch:
            return None
        return lease.node, lease.salt, seated.tokens[start : start + self._stretch].tobytes()

    def _next(self, waiting: Sequence) -> Stretch | None:
        """What a waiting sequence would have to compute first, if others can compute it for it."""
        hit = self._hit(waiting)
        end = hit.tokens + self._stretch
        if end > waiting.hit_limit or hit.inside < len(hit.node.pages):
            return None
        return hit.node, waiting.request.salt, waiting.tokens[hit.tokens : end].tobytes()
