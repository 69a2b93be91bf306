"""Both channels keep the same promises: order, no loss, no blocking, and a stranger's bytes harm nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import zmq

from stemma.core.types.control import AskStats, FromEngine, Hello, Reply, ToEngine
from stemma.core.types.request import Abort
from stemma.core.wire.channel import EngineChannel, FrontChannel
from stemma.core.wire.local import local_channel
from stemma.core.wire.zmq import ZmqEngineChannel, ZmqFrontChannel, new_address

Ends = tuple[FrontChannel, EngineChannel]


@asynccontextmanager
async def local() -> AsyncIterator[Ends]:
    yield local_channel()


@asynccontextmanager
async def over_zmq() -> AsyncIterator[Ends]:
    address = new_address()
    engine, front = ZmqEngineChannel(address), ZmqFrontChannel(address)
    yield front, engine
    front.close()
    engine.close()


async def receive(engine: EngineChannel, count: int) -> list[ToEngine]:
    messages: list[ToEngine] = []
    while len(messages) < count:
        messages += await asyncio.to_thread(engine.receive, 5.0)
    return messages


@pytest.mark.parametrize("ends", [local, over_zmq])
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


@pytest.mark.parametrize("ends", [local, over_zmq])
def test_an_empty_channel_waits_as_long_as_it_was_told(ends: Callable[[], AbstractAsyncContextManager[Ends]]) -> None:
    async def talk() -> None:
        async with ends() as (front, engine):
            assert engine.receive(0) == []
            assert engine.receive(0.01) == []
            front.send(Hello(front=0))
            assert await receive(engine, 1) == [Hello(front=0)]

    asyncio.run(talk())


@pytest.mark.parametrize("ends", [local, over_zmq])
def test_an_engine_that_waits_for_ever_can_be_woken(ends: Callable[[], AbstractAsyncContextManager[Ends]]) -> None:
    async def talk() -> None:
        async with ends() as (front, engine):
            waits = asyncio.create_task(asyncio.to_thread(engine.receive, None))
            await asyncio.sleep(0.05)
            assert not waits.done()
            engine.wake()
            assert await asyncio.wait_for(waits, 5) == []
            engine.wake()  # before it waits
            front.send(Hello(front=0))
            assert await receive(engine, 1) == [Hello(front=0)]

    asyncio.run(talk())


def test_bytes_that_do_not_decode_are_dropped_alone() -> None:
    address = new_address()
    engine = ZmqEngineChannel(address)
    context = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.IDENTITY, b"front-7")
    stranger.connect(address)
    for body in (b"", b"\xc1", b"\x81\xa4type\xa7request", b"\x80" * 1000):
        stranger.send(body)
    stranger.send(b"\x82\xa4type\xa5hello\xa5front\x07")
    heard: list[ToEngine] = []
    while not heard:
        heard = engine.receive(5.0)
    assert heard == [Hello(front=7)]
    stranger.close(linger=0)
    context.term()
    engine.close()


def test_a_front_that_is_not_there_is_told_apart() -> None:
    engine = ZmqEngineChannel(new_address())
    assert engine.send(3, Reply(id="x")) is False
    engine.close()
