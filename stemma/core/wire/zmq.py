"""The channel between processes: ZeroMQ, MessagePack inside.

The engine binds a ROUTER socket; each front connects a DEALER whose identity is its number.
"""

import logging
import os
import tempfile
from contextlib import suppress

import msgspec
import zmq
import zmq.asyncio

from stemma.core.types.control import FromEngine, ToEngine
from stemma.core.wire.codec import decode_from_engine, decode_to_engine, encode

MAX_UNREAD = 100_000  # messages that a front may be behind before its requests are given up
MORE = zmq.SNDMORE | zmq.NOBLOCK

log = logging.getLogger(__name__)


def new_address() -> str:
    """A socket address that no other run uses; its folder is readable by this user alone."""
    return f"ipc://{os.path.join(tempfile.mkdtemp(prefix='stemma-'), 'engine')}"


class ZmqFrontChannel:
    """A front's end. What an engine that died did not read is dropped; what is sent without one waits for the next."""

    def __init__(self, address: str, front: int = 0):
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, b"front-%d" % front)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(address)

    def send(self, message: ToEngine) -> None:
        self._socket.send(encode(message))

    async def receive(self) -> FromEngine:
        return decode_from_engine(await self._socket.recv())

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()


class ZmqEngineChannel:
    """The engine's end. A message that does not decode is logged and dropped: it harms nobody else."""

    def __init__(self, address: str):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.setsockopt(zmq.SNDHWM, MAX_UNREAD)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._address = address
        with suppress(FileNotFoundError):  # left by an engine that was killed
            os.unlink(address.removeprefix("ipc://"))
        self._socket.bind(address)
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wakes, zmq.POLLIN)

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        messages: list[ToEngine] = []
        if self._poller.poll(None if timeout_seconds is None else round(timeout_seconds * 1000)):
            with suppress(BlockingIOError):
                os.eventfd_read(self._wakes)
            with suppress(zmq.Again):
                while True:
                    _, body = self._socket.recv_multipart(zmq.NOBLOCK)
                    try:
                        messages.append(decode_to_engine(body))
                    except msgspec.DecodeError as error:
                        log.error("dropped a message that does not decode: %s", error)
        return messages

    def send(self, front: int, message: FromEngine) -> bool:
        try:
            self._socket.send(b"front-%d" % front, MORE)
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.warning("front %d cannot be reached: %s", front, error)
            return False
        return True

    def wake(self) -> None:
        os.eventfd_write(self._wakes, 1)

    def close(self) -> None:
        os.close(self._wakes)
        self._socket.close(linger=500)
        self._context.term()
