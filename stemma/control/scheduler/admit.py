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

SHARED_TOKENS = 32  # a beginning this long is worth waiting for
MOST_PASSED = 32  # how many may be passed over in a step because they wait for a prefix

Stretch = tuple[Node, str, bytes]  # where it hangs in the tree, salt, tokens
Coming = dict[int, set[Stretch]]  # by number of tokens


class Admission:
    """Gives rows and pages to those who wait, as long as all who are seated are expected to get through.

    Bytes are never promised twice, lengths are: a request is charged for its prompt and its expected
    output, and preemption pays for wrong guesses. The line stops at the first who does not fit.

    Whoever waits for a prefix that a seated sequence is computing is passed over until all that both have in common is
    there, to the last token.
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

    def into(self, draft: Draft) -> None:
        if not self._queue or not draft.tokens or not (self._seats.free or self._preemption.by_rank):
            return
        self._promised = None
        coming: Coming = {}
        for each in self._seats.unsteady:  # decodes publish nothing that was asked
            if each.landed < each.held.asked:
                self._expect(each, coming)
        passed = 0
        with closing(self._queue.in_order(self._cache)) as line:
            for sequence in line:
                if self._waits(sequence, coming):
                    passed += 1
                elif self._seat(sequence, draft):
                    self._expect(sequence, coming)
                else:
                    return
                if not draft.tokens or passed == MOST_PASSED:
                    return

    def _seat(self, sequence: Sequence, draft: Draft) -> bool:
        while True:
            short = 0
            if self._seats.free:
                hit = self._hit(sequence)
                lease = self._cache.acquire(hit, sequence.request.salt, sequence.known, sequence.end)
                short = self._short(sequence, lease)
                if short <= 0:
                    break
                self._cache.release(lease, sequence.tokens, 0)
            if not self._preemption.make_way(sequence, short):
                return False
            self._promised = None
        self._queue.remove(sequence)
        shared = self._cache.share(lease, sequence.tokens, sequence.hit_limit)
        self._seats.sit(sequence, lease, shared)
        if sequence.cached is None:
            sequence.cached = min(sequence.planned, sequence.prompt_len)
            self.prompt_tokens += sequence.prompt_len
            self.cached_tokens += sequence.cached
        draft.seats.append(sequence.seat(shared.source))
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

    def _expect(self, seated: Sequence, coming: Coming) -> None:
        """Note what a seated sequence will publish next, if others may wait for it.

        They do when they have `SHARED_TOKENS` in common with what it computes, and then to the last token.
        """
        lease = seated.held
        start = lease.published * self._cache.page_size
        count = max(1, lease.began + SHARED_TOKENS - start)
        if self._cache.radix and start + count <= lease.asked:
            stretch = lease.node, lease.salt, seated.tokens[start : start + count].tobytes()
            coming.setdefault(count, set()).add(stretch)

    def _waits(self, waiting: Sequence, coming: Coming) -> bool:
        """Whether others compute what it would have to compute first."""
        if not coming:
            return False
        hit = self._hit(waiting)
        if hit.inside < len(hit.node.pages):
            return False
        start, salt = hit.tokens, waiting.request.salt
        return any(
            (hit.node, salt, waiting.tokens[start : start + count].tobytes()) in stretches
            for count, stretches in coming.items()
            if start + count <= waiting.hit_limit
        )
