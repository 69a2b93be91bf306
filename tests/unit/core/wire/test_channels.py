"""Both channels keep the same promises: order, no loss, no blocking, and a stranger's bytes harm nobody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from stemma.core.types.control import AskStats, FromEngine, Hello, Reply, ToEngine
from stemma.core.types.request import Abort
from stemma.core.wire import unix
from stemma.core.wire.channel import EngineChannel, FrontChannel
from stemma.core.wire.codec import decode_from_engine, encode
from stemma.core.wire.local import local_channel
from stemma.core.wire.unix import Frames, UnixEngineChannel, UnixFrontChannel, framed, new_address

Ends = tuple[FrontChannel, EngineChannel]


@asynccontextmanager
async def local() -> AsyncIterator[Ends]:
    yield local_channel()


@asynccontextmanager
async def over_unix() -> AsyncIterator[Ends]:
    address = new_address()
    engine, front = UnixEngineChannel(address), UnixFrontChannel(address)
    yield front, engine
    front.close()
    engine.close()


async def receive(engine: EngineChannel, count: int) -> list[ToEngine]:
    messages: list[ToEngine] = []
    while len(messages) < count:
        messages += await asyncio.to_thread(engine.receive, 5.0)
    return messages


@pytest.mark.parametrize("ends", [local, over_unix])
def test_messages_keep_their_order_in_both_directions(ends: Callable[[], AbstractAsyncContextManager[Ends]]) -> None:
    async def talk() -> tuple[list[ToEngine], list[FromEngine]]:
        async with ends() as (front, engine):
            asked: list[ToEngine] = [Hello(front=0), *(AskStats(id=str(i)) for i in range(200)), Abort(id="x")]
            for message in asked:
                front.send(message)
            heard = await receive(engine, len(asked))
            assert heard == asked
            for i in range(200):
                assert engine.send(0, Reply(id=str(i)))
            return heard, [await asyncio.wait_for(front.receive(), 5) for _ in range(200)]

    _, replies = asyncio.run(talk())
    assert replies == [Reply(id=str(i)) for i in range(200)]


@pytest.mark.parametrize("ends", [local, over_unix])
def test_an_empty_channel_waits_as_long_as_it_was_told(ends: Callable[[], AbstractAsyncContextManager[Ends]]) -> None:
    async def talk() -> None:
        async with ends() as (front, engine):
            assert engine.receive(0) == []
            assert engine.receive(0.01) == []
            front.send(Hello(front=0))
            assert await receive(engine, 1) == [Hello(front=0)]

    asyncio.run(talk())


@pytest.mark.parametrize("ends", [local, over_unix])
def test_an_engine_that_waits_for_ever_can_be_woken(ends: Callable[[], AbstractAsyncContextManager[Ends]]) -> None:
    async def talk() -> None:
        async with ends() as (front, engine):
            front.send(Hello(front=0))
            assert await receive(engine, 1) == [Hello(front=0)]
            waits = asyncio.create_task(asyncio.to_thread(engine.receive, None))
            await asyncio.sleep(0.05)
            assert not waits.done()
            engine.wake()
            assert await asyncio.wait_for(waits, 5) == []
            engine.wake()  # before it waits
            front.send(Hello(front=0))
            assert await receive(engine, 1) == [Hello(front=0)]

    asyncio.run(talk())


def hear(engine: EngineChannel, count: int) -> list[ToEngine]:
    heard: list[ToEngine] = []
    while len(heard) < count:
        heard += engine.receive(5.0)
    return heard


def test_bytes_that_do_not_decode_are_dropped_alone() -> None:
    address = new_address()
    engine = UnixEngineChannel(address)
    hello = framed(b"\x82\xa4type\xa5hello\xa5front\x07")
    strange = b"".join(map(framed, (b"7", b"", b"\xc1", b"\x81\xa4type\xa7request", b"\x80" * 1000)))
    with socket.socket(socket.AF_UNIX) as lost, socket.socket(socket.AF_UNIX) as stranger:
        for each, said in ((lost, framed(b"no number") + hello), (stranger, strange + hello[:9])):
            each.connect(address)
            each.sendall(said)
        assert engine.receive(0.05) == []
        stranger.sendall(hello[9:] + hello)
        assert hear(engine, 2) == [Hello(front=7)] * 2
        assert lost.recv(1) == b""
    engine.close()


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 1000])
def test_messages_come_in_parts_of_any_size(cut: int) -> None:
    bodies = [b"", b"a", b"bc" * 600, b"d"]
    stream, frames = b"".join(map(framed, bodies)), Frames()
    assert [body for at in range(0, len(stream), cut) for body in frames.cut(stream[at : at + cut])] == bodies


def test_what_a_socket_has_no_room_for_waits_for_its_front() -> None:
    address = new_address()
    engine = UnixEngineChannel(address)
    replies = [Reply(id=str(at), message="x" * 100_000) for at in range(30)]
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(address)
        front.sendall(framed(b"0") + framed(encode(Hello(front=0))))
        hear(engine, 1)
        assert all(engine.send(0, reply) for reply in replies)
        front.setblocking(False)
        frames = Frames()
        heard: list[bytes] = []
        while len(heard) < len(replies):
            assert engine.receive(5.0) == []  # wakes up when there is room
            with suppress(BlockingIOError):
                while True:
                    heard += frames.cut(front.recv(1 << 16))
        assert list(map(decode_from_engine, heard)) == replies
        assert engine.receive(0.01) == []
    engine.close()


def test_a_front_that_does_not_read_is_given_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "MAX_UNREAD_BYTES", 1_000_000)
    address = new_address()
    engine = UnixEngineChannel(address)
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as front:
        for number, each in enumerate((deaf, front)):
            each.connect(address)
            each.sendall(framed(b"%d" % number) + framed(encode(Hello(front=number))))
        hear(engine, 2)
        long = Reply(id="long", message="x" * 400_000)
        assert [engine.send(0, long) for _ in range(9)][-1] is False
        assert engine.send(1, Reply(id="short"))
        assert Frames().cut(front.recv(1000)) == [encode(Reply(id="short"))]
    engine.close()


def test_a_front_that_is_not_there_is_told_apart() -> None:
    address = new_address()
    engine = UnixEngineChannel(address)
    assert engine.send(3, Reply(id="x")) is False
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(address)
        front.sendall(framed(b"3") + framed(encode(Hello(front=3))))
        hear(engine, 1)
        assert engine.send(3, Reply(id="x"))
    assert engine.send(3, Reply(id="x")) is False
    assert engine.receive(5.0) == []
    assert engine.send(3, Reply(id="x")) is False
    engine.close()
