"""What happened to one request, and when. Times are of one clock, in seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Piece(NamedTuple):
    """Text that came."""

    at: float
    tokens: int  # of the answer, up to and with this piece


@dataclass(slots=True)
class Timeline:
    """One request's life. Owned by the task that sends it.

    An answer of which no token can be shown (the middle of a letter, a special token) counts as come at its end.
    """

    input_tokens: int
    wanted_tokens: int
    sent: float = 0.0
    ended: float = 0.0  # when the last event came
    output_tokens: int = 0  # as the server counts
    cached_tokens: int = 0
    pieces: list[Piece] = field(default_factory=list)
    text: str = ""
    is_done: bool = False  # answered to the end
    error: str | None = None

    def hear(self, at: float, text: str, tokens: int) -> None:
        """An event came: `text` is new, `tokens` are all so far."""
        self.ended, self.output_tokens = at, tokens
        if text:
            self.text += text
            self.pieces.append(Piece(at, tokens))

    @property
    def latency(self) -> float:
        return self.ended - self.sent

    @property
    def ttft(self) -> float:
        """Time to first token."""
        return (self.pieces[0].at if self.pieces else self.ended) - self.sent

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first; None: there is no other."""
        return (self.latency - self.ttft) / (self.output_tokens - 1) if self.output_tokens > 1 else None

    def itls(self) -> Iterator[float]:
        """Inter-token latencies: each gap between two pieces, shared by the tokens that the second brought."""
        for before, piece in pairwise(self.pieces):
            tokens = max(1, piece.tokens - before.tokens)
            yield from [(piece.at - before.at) / tokens] * tokens
