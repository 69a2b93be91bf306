"""The channel between processes: sockets of this machine, MessagePack inside, each message behind its length.

The engine listens; each front connects, and its first message is its number. No thread stands between the two: what is
sent is with the other end at once, or waits here until that has room.
"""

import asyncio
import logging
import os
import select
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from stemma.core.types.control import FromEngine, ToEngine
from stemma.core.wire.codec import decode_from_engine, decode_to_engine, encode

MAX_UNREAD_BYTES = 1 << 28  # a front that is further behind is given up
RETRY_SECONDS = 0.02
END_SECONDS = 0.5  # so long an engine that ends waits for fronts to take what it said last
READ_BYTES = 1 << 16

log = logging.getLogger(__name__)

_length = struct.Struct("<I")


def new_address() -> str:
    """A path that no other run uses; its folder is readable by this user alone."""
    return os.path.join(tempfile.mkdtemp(prefix="stemma-"), "engine")


def framed(body: bytes) -> bytes:
    return _length.pack(len(body)) + body


class Frames:
    """Cuts what comes from a socket, in parts of any size, into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, part: bytes | memoryview) -> list[bytes]:
        """The messages that are complete with this part."""
        rest, at, bodies = self._rest, 0, []
        rest += part
        while len(rest) - at >= _length.size:
            (size,) = _length.unpack_from(rest, at)
            if len(rest) - at - _length.size < size:
                break
            at += _length.size
            bodies.append(bytes(rest[at : at + size]))
            at += size
        del rest[:at]
        return bodies


class UnixFrontChannel(asyncio.BufferedProtocol):
    """A front's end, made inside the event loop that uses it.

    Connects again and again. What an engine that died did not read is dropped; what is sent without one waits for the
    next.
    """

    def __init__(self, address: str, front: int = 0):
        self._address = address
        self._introduction = framed(b"%d" % front)
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None  # None: there is no engine
        self._is_closed = False
        self._memory = memoryview(bytearray(READ_BYTES))  # what asyncio would give each read takes long to make
        self._connecting = asyncio.create_task(self._connect())

    def send(self, message: ToEngine) -> None:
        frame = framed(encode(message))
        if self._transport is None:
            self._unsent.append(frame)
        else:
            self._transport.write(frame)

    async def receive(self) -> FromEngine:
        return decode_from_engine(await self._received.get())

    def close(self) -> None:
        self._is_closed = True
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                await asyncio.get_running_loop().create_unix_connection(lambda: self, self._address)
                return
            await asyncio.sleep(RETRY_SECONDS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._frames = transport, Frames()
        transport.write(b"".join((self._introduction, *self._unsent)))
        self._unsent.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        for body in self._frames.cut(self._memory[:nbytes]):
            self._received.put_nowait(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._is_closed:
            self._connecting = asyncio.create_task(self._connect())


@dataclass(slots=True, eq=False)
class Road:
    """To one front. Owned by the engine's end."""

    socket: socket.socket
    front: int | None = None  # None: it has not said yet
    frames: Frames = field(default_factory=Frames)
    unsent: bytearray = field(default_factory=bytearray)  # what the socket had no room for


class UnixEngineChannel:
    """The engine's end. A message that does not decode is logged and dropped: it harms nobody else."""

    def __init__(self, address: str):
        with suppress(FileNotFoundError):  # left by an engine that was killed
            os.unlink(address)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.setblocking(False)
        self._door.bind(address)
        self._door.listen()
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._roads: dict[int, Road] = {}  # by number of the file
        self._fronts: dict[int, Road] = {}
        self._epoll = select.epoll()
        for file in (self._door.fileno(), self._wakes):
            self._epoll.register(file, select.EPOLLIN)

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        messages: list[ToEngine] = []
        for file, events in self._epoll.poll(timeout_seconds):
            road = self._roads.get(file)
            if road is not None:
                if events & select.EPOLLOUT:
                    self._push(road, b"")
                if events & ~select.EPOLLOUT:
                    messages += self._read(road)
            elif file == self._wakes:
                os.eventfd_read(file)
            else:
                self._open()
        return messages

    def send(self, front: int, message: FromEngine) -> bool:
        road = self._fronts.get(front)
        if road is not None and len(road.unsent) < MAX_UNREAD_BYTES and self._push(road, framed(encode(message))):
            return True
        log.warning("front %d cannot be reached: it is gone, or too far behind", front)
        return False

    def wake(self) -> None:
        os.eventfd_write(self._wakes, 1)

    def close(self) -> None:
        for road in self._roads.values():
            with suppress(OSError):
                road.socket.settimeout(END_SECONDS)
                road.socket.sendall(road.unsent)
            road.socket.close()
        for each in (self._door, self._epoll):
            each.close()
        os.close(self._wakes)

    def _open(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            accepted, _ = self._door.accept()
            accepted.setblocking(False)
            self._roads[accepted.fileno()] = Road(accepted)
            self._epoll.register(accepted, select.EPOLLIN)

    def _shut(self, road: Road) -> None:
        del self._roads[road.socket.fileno()]
        if road.front is not None and self._fronts.get(road.front) is road:
            del self._fronts[road.front]
        road.socket.close()  # which the epoll sees

    def _read(self, road: Road) -> Iterator[ToEngine]:
        part = b""
        with suppress(ConnectionError):
            part = road.socket.recv(READ_BYTES)
        if not part:
            self._shut(road)
        for body in road.frames.cut(part):
            if road.front is None:
                if not body.isdigit():
                    log.error("closed a connection that does not begin with the number of a front")
                    return self._shut(road)
                road.front = int(body)
                self._fronts[road.front] = road
                continue
            try:
                yield decode_to_engine(body)
            except msgspec.DecodeError as error:
                log.error("dropped a message that does not decode: %s", error)

    def _push(self, road: Road, frame: bytes) -> bool:
        """Send what waits, and then this. False: nobody is there any more, as `receive` will see."""
        waited = bool(road.unsent)
        road.unsent += frame
        try:
            del road.unsent[: road.socket.send(road.unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            return False
        if waited != bool(road.unsent):
            self._epoll.modify(road.socket, select.EPOLLIN | (0 if waited else select.EPOLLOUT))
        return True
