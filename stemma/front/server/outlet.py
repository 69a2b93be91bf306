"""Shorter ways out for streams: what a piece costs between uvicorn and the socket is paid for every token."""

import asyncio

import h11

LARGE = 16 << 10  # bytes that are written at once


class Framing(h11.Connection):
    """Frames the pieces of a chunked body by itself: h11 would only find, for each, that it changes nothing."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self._is_in_chunks = False

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]  # it has an overload for each event
        if self._is_in_chunks and isinstance(event, h11.Data):
            return b"%x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b""
        sent = super().send(event)
        head = sent.lower() if sent and isinstance(event, h11.Response) else b""
        self._is_in_chunks = b"\r\ntransfer-encoding: chunked\r\n" in head
        return sent


class Burst:
    """What is written to all connections in one turn of the event loop, sent when the turn is over.

    Streams have news together, after each step. A client of all of them on this machine wakes up once for all of their
    news, not between any two of them, where it would take the processor from who computes.
    """

    def __init__(self) -> None:
        self._unsent: list[tuple[asyncio.Transport, bytes]] = []

    def add(self, transport: asyncio.Transport, part: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self.send)
        self._unsent.append((transport, part))

    def send(self) -> None:
        unsent, self._unsent = self._unsent, []
        for transport, part in unsent:
            transport.write(part)


class Outlet(asyncio.Transport):
    """As much of a transport as an answer needs; it writes to the burst."""

    def __init__(self, transport: asyncio.Transport, burst: Burst):
        super().__init__()
        self._transport = transport
        self._burst = burst

    def write(self, part: bytes | bytearray | memoryview, /) -> None:
        self._burst.add(self._transport, bytes(part))
        if len(part) >= LARGE:  # who does not read is to be noticed before the next
            self._burst.send()

    def close(self) -> None:
        self._burst.send()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()
