"""The two ends of the road between fronts and an engine.

front ── send(ToEngine) ──▶ engine        one engine, any number of fronts
front ◀── send(FromEngine) ── engine      messages of one direction keep their order
"""

from typing import Protocol

from stemma.core.types.control import FromEngine, ToEngine


class Closed(Exception):
    """The other end will say nothing more."""


class FrontChannel(Protocol):
    """A front's end. Used from one event loop."""

    def send(self, message: ToEngine) -> None:
        """Hand a message over; never blocks."""

    async def receive(self) -> FromEngine:
        """The next message; cancelling it loses nothing."""

    def close(self) -> None: ...


class EngineChannel(Protocol):
    """The engine's end. Used from one thread."""

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        """All messages that are there. With none: waits for the first at most so long; None: for ever.

        May come back earlier without one, when a front has come or gone.

        Raises Closed when every front has closed its end for good.
        """

    def wake(self) -> None:
        """Let whoever waits in `receive`, or the next who would, go on without a message. From any thread."""

    def send(self, front: int, message: FromEngine) -> bool:
        """Hand a message over; never blocks. False: the front is gone, or too far behind to get more."""

    def close(self) -> None: ...
