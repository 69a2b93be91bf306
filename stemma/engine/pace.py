"""How fast tokens come out."""

import time
from collections import deque

WINDOW_SECONDS = 10.0


class Pace:
    """Output tokens of the last seconds. Owned by the loop."""

    def __init__(self) -> None:
        self._landed: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def add(self, tokens: int) -> None:
        self._landed.append((time.monotonic(), tokens))
        self._tokens += tokens
        self._forget()

    def tokens_per_second(self) -> float:
        self._forget()
        return self._tokens / WINDOW_SECONDS

    def _forget(self) -> None:
        horizon = time.monotonic() - WINDOW_SECONDS
        while self._landed and self._landed[0][0] < horizon:
            self._tokens -= self._landed.popleft()[1]
