"""The next positions of those who are seated."""

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.budget import Draft
from stemma.control.scheduler.cost import StepCost
from stemma.control.scheduler.preempt import Preemption
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State
from stemma.core.types.step import News


class Advance:
    """Fills a draft with rows: first all who lack one position, then the others as far as tokens and time reach.

    There are at most as many rows as tokens in a step, so that nobody of the first kind is left out.
    """

    def __init__(self, cache: PrefixCache, seats: Seats, preemption: Preemption, cost: StepCost):
        self._cache = cache
        self._seats = seats
        self._preemption = preemption
        self._cost = cost

    def into(self, draft: Draft) -> None:
        self._feed(draft)
        draft.decode(self._seats.steady, self._seats.bound > 0)
        behind = []
        for sequence in self._seats.unsteady:
            if sequence.state is State.SEATED and (ahead := sequence.ahead):
                if ahead > 1:
                    behind.append(sequence)
                else:
                    self.compute(sequence, draft)
        if draft.sequences:
            draft.decodes = len(draft.sequences)
            draft.tokens = self._cost.fitting(draft.tokens)
        for sequence in behind:
            if draft.tokens and sequence.state is State.SEATED:
                self.compute(sequence, draft)

    def _feed(self, draft: Draft) -> None:
        """Pages for the steady. For whom there is none, and who comes to its end, is steady no more."""
        steady = self._seats.steady
        if not (due := steady.due()):
            return
        lacking = [sequence for sequence in due if sequence.held.room < sequence.end - 1]
        pages = self._cache.widen([sequence.held for sequence in lacking])
        for sequence, page in zip(lacking, pages, strict=False):
            draft.news[sequence.row] = News((page,))
            steady.expect(sequence)
        for sequence in due:
            if sequence.row not in draft.news:
                steady.leave(sequence)

    def compute(self, sequence: Sequence, draft: Draft) -> None:
        """Plan as many of its positions as tokens and pages allow. It may be sent away instead."""
        lease = sequence.held
        most = count = min(sequence.ahead, draft.tokens)
        while (pages := self._cache.extend(lease, sequence.planned + count)) is None:
            count = min(most, self._cache.reach(lease) - sequence.planned)
            if count == 0:
                if not self._preemption.make_room(sequence):
                    return
                count = most
        draft.add(sequence, count, pages)
