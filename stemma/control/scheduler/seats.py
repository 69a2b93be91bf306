"""Rows of the device, and who has one."""

from bisect import insort

from stemma.control.cache.prefix import Lease, PrefixCache, Shared
from stemma.control.scheduler.queue import Queue
from stemma.control.scheduler.sequence import Sequence, State
from stemma.control.scheduler.steady import Steady
from stemma.core.base.errors import Bug
from stemma.core.types.step import NO_PAGE


class Seats:
    """Who has a row and pages. Owned by the Scheduler.

    Always: every row is free, seated or leaving. `seated` goes by rank, then arrival: its first, the
    oldest of the highest rank, is whom the others make room for.
    """

    def __init__(self, rows: int, cache: PrefixCache, queue: Queue):
        self.rows = rows
        self.free = list(range(rows - 1, -1, -1))
        self.seated: list[Sequence] = []
        self.steady = Steady()  # of those
        self.bound = 0  # of those, under a grammar
        self.leaving: dict[int, Sequence] = {}  # by row: yielded or ended, with steps still flying
        self._cache = cache
        self._queue = queue

    @property
    def unsteady(self) -> list[Sequence]:
        """Who is seated and wants a look at every step."""
        return [sequence for sequence in self.seated if sequence.place < 0]

    def sit(self, sequence: Sequence, lease: Lease, shared: Shared) -> None:
        sequence.row = self.free.pop()
        sequence.lease = lease
        whole = lease.published * self._cache.page_size
        sequence.planned = whole + shared.tokens
        sequence.landed = sequence.planned if shared.source == NO_PAGE else whole  # the copy is yet to be made
        sequence.given = len(sequence.tokens)
        sequence.state = State.SEATED
        insort(self.seated, sequence, key=_standing)
        self.bound += sequence.constraint is not None

    def leave(self, sequence: Sequence, state: State) -> None:
        """Plan no more of it. Its row and pages, if it has any, come back when nothing of it flies: maybe now."""
        if sequence.row < 0:
            self._queue.remove(sequence)
        elif sequence.state is State.SEATED:
            if sequence.place >= 0:
                self.steady.leave(sequence)
            self.seated.remove(sequence)
            self.bound -= sequence.constraint is not None
            self.leaving[sequence.row] = sequence
        sequence.state = state
        if sequence.row >= 0 and sequence.flying == 0:
            self.depart(sequence)

    def depart(self, sequence: Sequence) -> None:
        del self.leaving[sequence.row]
        self.free.append(sequence.row)
        self._cache.release(sequence.held, sequence.tokens, sequence.landed)
        sequence.row, sequence.lease = -1, None
        if sequence.state is State.YIELDED:
            self._queue.push(sequence)

    def check(self) -> None:
        taken = [sequence.row for sequence in self.seated] + list(self.leaving)
        if sorted(self.free + taken) != list(range(self.rows)):
            raise Bug(f"of {self.rows} rows, {sorted(self.free)} are free and {sorted(taken)} are taken")
        if self.seated != sorted(self.seated, key=_standing):
            raise Bug("those who are seated are out of order")
        if self.bound != sum(sequence.constraint is not None for sequence in self.seated):
            raise Bug(f"{self.bound} are said to sit under a grammar")
        for sequence in self.seated:
            if sequence.state is not State.SEATED:
                raise Bug(f"a sequence that is {sequence.state.name} sits on row {sequence.row}")
        for sequence in self.leaving.values():
            if sequence.flying == 0 or sequence.state not in (State.YIELDED, State.ENDED):
                raise Bug(f"row {sequence.row} should have been given back")


def _standing(sequence: Sequence) -> tuple[int, int]:
    return -sequence.rank, sequence.arrival
