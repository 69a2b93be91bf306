import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.types.control import EngineReady, Hello, ToEngine
from stemma.core.types.output import TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.tokens import pack
from stemma.core.wire.unix import UnixEngineChannel, UnixFrontChannel, new_address
from stemma.front.service.client import EngineClient
from tests.fake_engine import FakeEngine, connected

READY = EngineReady(context=64, max_total_tokens=64, page_size=1, vocab_size=9)


def request(id: str = "a") -> Request:
    return Request(id=id, tokens=pack([1, 2, 3]), sampling=SamplingParams(max_new_tokens=4))


@dataclass
class Ear:
    """Hears the chunks of a request."""

    chunks: list[TokenChunk] = field(default_factory=list)
    has_finished: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, chunk: TokenChunk) -> None:
        assert not self.has_finished.is_set()
        self.chunks.append(chunk)
        if chunk.finish is not None:
            self.has_finished.set()

    async def all(self) -> list[TokenChunk]:
        await self.has_finished.wait()
        return self.chunks


def ask(client: EngineClient, id: str = "a") -> Ear:
    ear = Ear()
    client.submit(request(id), ear)
    return ear


async def test_a_request_is_a_stream_that_ends_after_its_finish() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        assert engine.sent == [Hello(front=3)]
        assert client.ready == engine.ready
        chunks = await ask(client).all()
        assert [len(chunk.tokens) for chunk in chunks] == [1, 1, 1, 1]
        assert [chunk.finish is not None for chunk in chunks] == [False, False, False, True]
        assert client.ids() == []


async def test_streams_do_not_mix() -> None:
    engine = FakeEngine(script=lambda request: [ord(request.id)] * 9)
    async with connected(engine, front=3) as client:
        ears = {id: ask(client, id) for id in "abc"}
        assert client.ids() == ["a", "b", "c"]
        for id, ear in ears.items():
            assert [token for chunk in await ear.all() for token in chunk.tokens] == [ord(id)] * 4
        assert client.ids() == []


async def test_an_id_is_in_flight_until_the_engine_says_so() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        engine.hold()
        ear = ask(client)
        with pytest.raises(BadRequest, match="'a' is being served") as error:
            ask(client)
        assert error.value.field == "rid"
        client.abort(Abort(id="a"))
        assert client.ids() == ["a"]
        client.abort(Abort(id="unknown"))
        (last,) = await ear.all()
        assert last.finish is not None
        assert last.finish.reason == "abort"
        assert engine.said(Abort) == [Abort(id="a")]
        ask(client)


async def test_a_dead_engine_ends_every_stream_with_one_error() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        engine.hold()
        ears = [ask(client, id) for id in "ab"]
        await asyncio.sleep(0)
        engine.die()
        client.engine_died("killed by signal 9")
        for ear in ears:
            (last,) = await ear.all()
            assert last.finish is not None
            assert (last.finish.reason, last.finish.code) == ("error", 503)
            assert last.finish.detail == "killed by signal 9"
        assert client.ready is None
        assert engine.said(Hello) == [Hello(front=3)] * 2
        calls: list[Callable[[], Awaitable[object]]] = [client.stats, client.flush]
        for call in calls:
            with pytest.raises(EngineDead, match="starting"):
                await call()
        with pytest.raises(EngineDead):
            ask(client)
        engine.go()
        engine.revive()
        await client.wait_ready()
        chunks = await ask(client).all()
        assert chunks[-1].finish is not None
        assert chunks[-1].finish.reason == "length"


async def test_a_question_is_not_left_open_when_the_engine_dies() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        engine.die()
        asked = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        client.engine_died("gone")
        with pytest.raises(EngineDead, match="gone"):
            await asked


async def test_questions_get_their_own_answers() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        engine.hold()
        ask(client)
        stats, flush = await asyncio.gather(client.stats(), client.flush())
        assert stats.stats == engine.stats
        assert not flush.ok


async def test_ending_one_reader_harms_no_other() -> None:
    engine = FakeEngine()
    async with connected(engine, front=3) as client:
        ear = ask(client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ear.all()
        assert len(await ear.all()) == 4


def test_what_was_said_while_nobody_listened_is_taken_back_before_the_next_engine_is_greeted() -> None:
    async def main() -> list[ToEngine]:
        address = new_address()
        client = EngineClient(UnixFrontChannel(address))
        running = asyncio.create_task(client.run())
        first = UnixEngineChannel(address)
        try:
            async with asyncio.timeout(20):
                while Hello(front=0) not in await asyncio.to_thread(first.receive, 0.05):
                    pass
                first.send(0, READY)
                await client.wait_ready()
                first.close()
                await asyncio.sleep(0.2)  # now the road is cut, and the front has not heard that its engine died
                ear = ask(client)
                client.engine_died("killed")
                assert [chunk.finish is not None for chunk in await ear.all()] == [True]
                second = UnixEngineChannel(address)
                heard: list[ToEngine] = []
                while Hello(front=0) not in heard:
                    heard += await asyncio.to_thread(second.receive, 0.05)
                second.close()
                return heard
        finally:
            running.cancel()
            client.close()

    assert asyncio.run(main()) == [request(), Abort(id="a", reason="left"), Hello(front=0)]
