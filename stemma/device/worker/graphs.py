"""Work that is queued by one call instead of many: captured once it is seen to come again and again.

Nothing is captured ahead of traffic: a size of step is launched kernel by kernel at first, which also compiles what it
needs, and is captured behind a step that was queued already. What traffic needs first is captured first.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stemma.device.platforms.platform import Graph, Platform

Key = tuple[str, int, int]  # what it does, for so many rows and tokens
Work = Callable[[], object]

USES = 8  # so often a size has come before it is worth a capture

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Known:
    """Work that comes again, on memory of its own."""

    work: Work
    uses: int = 0
    graph: Graph | None = None


class Graphs:
    """Graphs by their keys. Owned by the worker.

    The work of a key always reads and writes the same memory: what changes between two steps lies there.
    """

    def __init__(self, platform: Platform, is_enabled: bool):
        self._platform = platform
        self._is_enabled = is_enabled
        self._known: dict[Key, _Known] = {}
        self._wanted: deque[Key] = deque()

    @property
    def captured(self) -> list[Key]:
        return [key for key, known in self._known.items() if known.graph is not None]

    def run(self, key: Key, make: Callable[[], Work]) -> None:
        """Queue the work of this key, which `make` prepares once."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known(make())
        if known.graph is not None:
            return known.graph.replay()
        known.work()
        known.uses += 1
        if known.uses == USES and self._is_enabled:
            self._wanted.append(key)

    def capture_next(self) -> None:
        """Capture what was wanted first, if anything is. Called behind a step that is queued."""
        if not self._wanted:
            return
        key = self._wanted.popleft()
        try:
            self._known[key].graph = self._platform.capture(self._known[key].work)
        except RuntimeError as error:
            self._is_enabled = False
            self._wanted.clear()
            _log.warning("steps are launched kernel by kernel from here on: %s cannot be captured: %s", key, error)
        else:
            _log.info("captured %s, graph %d", key, len(self.captured))
