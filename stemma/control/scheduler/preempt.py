"""Who yields when pages run out, and who when somebody more important waits."""

from stemma.control.scheduler.budget import TokenRatio
from stemma.control.scheduler.seats import Seats
from stemma.control.scheduler.sequence import Sequence, State

THRESHOLD = 10  # a request yields to one whose priority is larger by more than this


class Preemption:
    """Sends seated sequences back to the queue. What they have computed stays findable, what they said stays said.

    One at a time: while somebody leaves, whose pages come back when its steps have landed, nobody else is sent.
    """

    def __init__(self, seats: Seats, ratio: TokenRatio, by_rank: bool):
        self.by_rank = by_rank
        self.retractions = 0
        self._seats = seats
        self._ratio = ratio

    def make_room(self, sequence: Sequence) -> bool:
        """Somebody yields, so that `sequence` gets pages; whether to try again now.

        It may be itself, but never the first among the seated: one always finishes.
        """
        if self._seats.leaving or len(self._seats.seated) < 2:
            return False
        victim = min(self._seats.seated[1:], key=_standing)
        self._expel(victim)
        return victim is not sequence and victim.flying == 0

    def make_way(self, sequence: Sequence, short: int) -> bool:
        """The same for one who waits, lacks `short` pages, and outranks others; nobody yields in vain."""
        if not self.by_rank or self._seats.leaving:
            return False
        below = [seated for seated in self._seats.seated if seated.rank + THRESHOLD < sequence.rank]
        if not below or sum(map(self._ratio.expected_pages, below)) < short:
            return False
        victim = min(below, key=_standing)
        self._expel(victim)
        return victim.flying == 0

    def _expel(self, victim: Sequence) -> None:
        victim.retractions += 1
        self.retractions += 1
        self._seats.leave(victim, State.YIELDED)
        self._ratio.learn(self._seats.seated)


def _standing(sequence: Sequence) -> tuple[int, int, int]:
    """Lowest rank first, then the least output to take up again, then the newest."""
    return sequence.rank, sequence.output_len, -sequence.arrival
