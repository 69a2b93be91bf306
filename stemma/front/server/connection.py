"""One connection: how long its client may be silent, and how many there may be."""

import asyncio
import resource
from typing import Any

import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from stemma.front.server.outlet import Burst, Framing, Outlet

HEAD_SECONDS = 30.0  # so long the head of a request may take, from the connection or the answer before it
STALL_SECONDS = 120.0  # so long a client may leave unread what was sent to it
MAX_CONNECTIONS = 8192
SPARE_FILES = 128  # files that are no connections: the model's, an engine's pipes


class Connection(H11Protocol):
    """uvicorn's, which waits for ever: here a client that says nothing, or does not read, is given up.

    Between two requests uvicorn waits 5 seconds for the next to begin; a body has a limit of its own. All that a server
    writes goes by one burst.
    """

    _head: asyncio.TimerHandle | None = None  # runs while no request is served
    _stall: asyncio.TimerHandle | None = None  # runs while the client does not keep up

    def __init__(self, burst: Burst, **uvicorns: Any):
        super().__init__(**uvicorns)
        self.conn = Framing()
        self._burst = burst

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.transport = Outlet(transport, self._burst)
        if len(self.connections) > (most := most_connections()):
            return self._refuse(503, f"this server has {most} connections, the most that it takes; try again later")
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        cancel(self._head)
        cancel(self._stall)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            cancel(self._head)

    def on_response_complete(self) -> None:
        self._await_head()  # first: the next head may be here already
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        cancel(self._stall)
        super().resume_writing()

    def _await_head(self) -> None:
        late = f"the head of a request did not arrive within {HEAD_SECONDS:g} seconds"
        self._head = self.loop.call_later(HEAD_SECONDS, self._refuse, 408, late)

    def _refuse(self, status: int, message: str) -> None:
        """Say so, and close: without h11, for which there is no request yet."""
        body = msgspec.json.encode({"error": {"message": message}})
        head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}retry-after: 1\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()


def cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def most_connections() -> int:
    """Fewer where the system grants few files: without one no engine that died could be started again."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(1, files - SPARE_FILES))
