"""The channel inside one process: an event loop on one side, the engine's thread on the other."""

import asyncio
from queue import Empty, SimpleQueue
from typing import Literal

from stemma.core.types.control import FromEngine, ToEngine
from stemma.core.wire.channel import Closed

WAKE: Literal["wake"] = "wake"
Said = ToEngine | Literal["wake"] | None  # None: the front has closed


class LocalFrontChannel:
    """The front's end; made inside the event loop that uses it."""

    def __init__(self, to_engine: "SimpleQueue[Said]"):
        self._to_engine = to_engine
        self._loop = asyncio.get_running_loop()
        self._received: asyncio.Queue[FromEngine] = asyncio.Queue()

    def send(self, message: ToEngine) -> None:
        self._to_engine.put(message)

    async def receive(self) -> FromEngine:
        return await self._received.get()

    def deliver(self, message: FromEngine) -> bool:
        """Called from the engine's thread. False when the event loop has closed."""
        try:
            self._loop.call_soon_threadsafe(self._received.put_nowait, message)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        self._to_engine.put(None)


class LocalEngineChannel:
    """The engine's end. There is one front, whatever its number."""

    def __init__(self, from_front: "SimpleQueue[Said]", front: LocalFrontChannel):
        self._from_front = from_front
        self._front = front

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        messages: list[ToEngine] = []
        try:
            message = self._from_front.get(timeout_seconds != 0, timeout_seconds or None)
            while message is not None:
                if message != WAKE:
                    messages.append(message)
                message = self._from_front.get_nowait()
        except Empty:
            return messages
        raise Closed

    def wake(self) -> None:
        self._from_front.put(WAKE)

    def send(self, front: int, message: FromEngine) -> bool:
        return self._front.deliver(message)

    def close(self) -> None:
        """Nothing is held."""


def local_channel() -> tuple[LocalFrontChannel, LocalEngineChannel]:
    """Both ends, made inside the front's event loop."""
    queue: SimpleQueue[Said] = SimpleQueue()
    front = LocalFrontChannel(queue)
    return front, LocalEngineChannel(queue, front)
