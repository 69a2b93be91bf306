"""How fast tokens come out."""

import time
from collections import deque

WINDOW_SECONDS = 10.0


class Pace:
    """Output tokens of the last seconds. Owned by the loop."""

    def __init__(self) -> None:
        self._before = 0  # tokens that came out until the window began
        self._marks: deque[tuple[float, int]] = deque()  # when, and how many tokens had come out in all

    def mark(self, tokens: int) -> None:
        """So many have come out in all, now."""
        now = time.monotonic()
        self._marks.append((now, tokens))
        self._forget(now)

    def tokens_per_second(self) -> float:
        self._forget(time.monotonic())
        return (self._marks[-1][1] - self._before) / WINDOW_SECONDS if self._marks else 0.0

    def _forget(self, now: float) -> None:
        while self._marks and self._marks[0][0] < now - WINDOW_SECONDS:
            self._before = self._marks.popleft()[1]
