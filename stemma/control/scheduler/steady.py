"""Those who decode, in columns."""

from array import array
from collections.abc import Iterable

from stemma.control.scheduler.sequence import Sequence
from stemma.core.base.errors import Bug

_SPAN = 4  # words: row, start, and here always 1, 1


class Steady:
    """Sequences that get one token from every step: what they have in common is counted once. Owned by the Seats.

    Always: a member stands with one position in every step that flies, and `landed == len(tokens) - 1`. So its own
    counts may stand still; `settle` brings them up to date. A member leaves before the step that may be its last.
    """

    def __init__(self) -> None:
        self.sequences: list[Sequence] = []
        self._spans = array("q")  # as of the next plan
        self._steps = 0
        self._due: dict[int, dict[Sequence, None]] = {}  # by step

    def join(self, sequence: Sequence) -> None:
        sequence.place = len(self.sequences)
        self.sequences.append(sequence)
        self._spans.extend((sequence.row, sequence.planned, 1, 1))
        self.expect(sequence)

    def leave(self, sequence: Sequence) -> None:
        self.settle(sequence)
        at, last = sequence.place, self.sequences.pop()
        if last is not sequence:
            self.sequences[at], last.place = last, at
            self._spans[_SPAN * at : _SPAN * (at + 1)] = self._spans[-_SPAN:]
        del self._spans[-_SPAN:]
        sequence.place = -1
        self._due.get(sequence.due, {}).pop(sequence, None)  # not there when it was told just now

    def settle(self, sequence: Sequence) -> None:
        """Bring a member's own counts up to date."""
        sequence.planned = self._start(sequence)
        sequence.landed = len(sequence.tokens) - 1
        sequence.flying = sequence.planned - sequence.landed

    def expect(self, sequence: Sequence) -> None:
        """It has come, or its lease has grown: when it will be due."""
        sequence.due = self._steps + _border(sequence) - self._start(sequence)
        self._due.setdefault(sequence.due, {})[sequence] = None

    def due(self) -> Iterable[Sequence]:
        """Whose next position has no page or is the last: told once."""
        return self._due.pop(self._steps, ())

    def advance(self) -> bytes:
        """The packed spans of a step with all of them."""
        packed, starts = self._spans.tobytes(), self._spans[1::_SPAN]
        self._spans[1::_SPAN] = array("q", [start + 1 for start in starts])
        self._steps += 1
        return packed

    def check(self, flying: int) -> None:
        """`flying`: steps that were launched and not absorbed."""
        for at, sequence in enumerate(self.sequences):
            self.settle(sequence)
            if (sequence.place, sequence.row) != (at, self._spans[_SPAN * at]) or sequence.flying != flying:
                raise Bug(f"request {sequence.id!r} decodes at place {at}, with {sequence.flying} steps of {flying}")
            steps = sequence.due - self._steps
            if steps != _border(sequence) - sequence.planned or sequence not in self._due.get(sequence.due, ()):
                raise Bug(f"request {sequence.id!r} is due in {steps} steps, at {sequence.planned}")
        if sum(map(len, self._due.values())) != len(self.sequences):
            raise Bug(f"{len(self.sequences)} sequences decode, and others are due")

    def _start(self, sequence: Sequence) -> int:
        return self._spans[_SPAN * sequence.place + 1]


def _border(sequence: Sequence) -> int:
    """The position that needs a look."""
    return min(sequence.held.room, sequence.end - 1)
