"""The next positions of those who are seated."""

from stemma.control.cache.prefix import PrefixCache
from stemma.control.scheduler.budget import Draft
from stemma.control.scheduler.cost import StepCost
from stemma.control.scheduler.preempt import Preemption
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State


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
        # So many decodes take a page in a step, on average.
        self._cache.make_ready(len(self._seats.seated) // self._cache.page_size)
        behind = []
        most, sequences, spans = draft.tokens, draft.sequences, draft.spans
        seated = State.SEATED  # looked up once: in Python 3.11 a member of an Enum takes 0.1 us
        for sequence in tuple(self._seats.seated):
            planned = sequence.planned
            if planned < sequence.plain_plans:
                # What draft.add does, for one position that needs no page and no thought.
                sequence.planned = planned + 1
                sequence.flying += 1
                sequences.append(sequence)
                spans += sequence.row, planned, 1, 1
            elif sequence.state is seated and (ahead := sequence.ahead):
                if ahead > 1:
                    behind.append(sequence)
                else:
                    self.compute(sequence, draft)
        if self._seats.bound:  # who is free is not even asked
            draft.is_masked = any(sequence.constraint is not None for sequence in sequences)
        if sequences:
            draft.decodes = len(sequences)
            draft.tokens = self._cost.fitting(most - draft.decodes)
        for sequence in behind:
            if draft.tokens and sequence.state is seated:
                self.compute(sequence, draft)

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
