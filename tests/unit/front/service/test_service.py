import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest

from stemma.core.base.errors import BadRequest, EngineDead, TooLong
from stemma.core.types.control import EngineReady, Flush
from stemma.core.types.output import Finish, TextChunk, Usage
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.tokens import unpack
from stemma.front.service.client import EngineClient
from stemma.front.service.prepare import seed_of
from stemma.front.service.service import Service
from stemma.front.service.work import Work
from tests.fake_engine import FakeEngine, Script, connected
from tests.unit.front.vocabularies import vocabularies
from tests.whole_answers import answers

TOKENIZER = vocabularies()["byte level"]


@asynccontextmanager
async def serving(engine: FakeEngine) -> AsyncGenerator[Service, None]:
    async with connected(engine) as client:
        yield Service(TOKENIZER, None, client)


def says(text: str) -> Script:
    return lambda request: TOKENIZER.encode(text)


def params(**given: Any) -> SamplingParams:
    return SamplingParams(**{"max_new_tokens": 8, **given})


async def idle(engine: FakeEngine) -> None:
    while engine.running:
        await asyncio.sleep(0)


async def test_text_in_text_out() -> None:
    async with serving(FakeEngine(script=says("the cat é"))) as service:
        work = service.work(text="the", sampling=params(max_new_tokens=100), id="x")
        assert [*unpack(work.tokens)] == TOKENIZER.encode("the")
        (answer,) = await answers(service, work)
        assert (answer.id, answer.index, answer.text) == ("x", 0, "the cat é")
        assert answer.tokens == tuple(TOKENIZER.encode("the cat é"))
        assert answer.finish == Finish(reason="length")
        assert answer.usage == Usage(prompt=1, output=len(answer.tokens))


async def test_continuations_are_merged_and_ordered_and_draw_apart() -> None:
    engine = FakeEngine(script=lambda request: [(request.sampling.sampling_seed or 0) % 256, ord("a")])
    async with serving(engine) as service:
        work = service.work(tokens=[1], sampling=params(sampling_seed=5), id="x", n=5, priority=2, salt="s")
        ended: list[int] = []
        async with aclosing(service.stream(work)) as chunks:
            async for chunk in chunks:
                assert chunk.id == work.id_of(chunk.index)
                ended += [chunk.index] if chunk.finish else []
        assert sorted(ended) == [0, 1, 2, 3, 4]
        requests = [message for message in engine.said(Request) if isinstance(message, Request)]
        assert [request.id for request in requests] == ["x", "x-1", "x-2", "x-3", "x-4"]
        assert [request.sampling.sampling_seed for request in requests] == [seed_of(5, i) for i in range(5)]
        assert {(request.priority, request.salt) for request in requests} == {(2, "s")}
        found = await answers(service, work)
        assert [answer.index for answer in found] == [0, 1, 2, 3, 4]
        assert len({answer.tokens[0] for answer in found}) > 2


async def test_a_seed_is_drawn_when_none_is_given() -> None:
    async with serving(FakeEngine()) as service:
        seeds = {service.work(tokens=[1], sampling=params()).sampling.sampling_seed for _ in range(20)}
        assert len(seeds) == 20
        assert None not in seeds


@pytest.mark.parametrize("tokens_per_chunk", [1, 3, 50])
async def test_a_stop_string_stops_the_engine(tokens_per_chunk: int) -> None:
    engine = FakeEngine(script=says("one\n\ntwo three four"), tokens_per_chunk=tokens_per_chunk)
    async with serving(engine) as service:
        sampling = params(max_new_tokens=50, stop=("\n\n",))
        work = service.work(tokens=[1], sampling=sampling, logprobs=LogprobSpec(start=0, top=2))
        (answer,) = await answers(service, work)
        assert (answer.text, answer.finish) == ("one", Finish(reason="stop", detail="\n\n"))
        assert answer.tokens == (*b"one\n\n",)
        assert [logprob.token for logprob in answer.logprobs] == [*answer.tokens]
        assert [logprob.token for logprob in answer.prompt_logprobs] == [1]
        assert answer.usage == Usage(prompt=1, output=len(answer.tokens))
        aborts = engine.said(Abort)
        if tokens_per_chunk == 50:  # it had ended by itself
            assert aborts == []
        else:
            assert aborts == [Abort(id=work.id, reason="stop", keep=len(answer.tokens), matched="\n\n")]
        assert not engine.running


async def test_a_stop_string_that_is_a_special_token_stops_by_its_id() -> None:
    eos = TOKENIZER.eos_id
    async with serving(FakeEngine(script=lambda request: [97, eos or 0, 98], vocab_size=300)) as service:
        sampling = params(stop=("<|im_end|>", "<think>"))
        work = service.work(tokens=[1], sampling=sampling)
        assert work.sampling.stop_token_ids == (eos,)
        (answer,) = await answers(service, work)
        assert (answer.text, answer.finish) == ("a", Finish(reason="stop", detail=eos))
        shown = service.work(tokens=[1], sampling=params(stop=("<|im_end|>",), skip_special_tokens=False))
        assert shown.sampling.stop_token_ids == ()
        (answer,) = await answers(service, shown)
        assert (answer.text, answer.finish) == ("a", Finish(reason="stop", detail="<|im_end|>"))
        with pytest.raises(BadRequest, match="more than 32"):
            service.work(tokens=[1], sampling=params(stop=("<|im_end|>",), stop_token_ids=tuple(range(32))))


async def test_leaving_aborts_what_is_unfinished() -> None:
    engine = FakeEngine(script=lambda request: [1] * (2 if request.id == "x" else 1000))
    async with serving(engine) as service:
        work = service.work(tokens=[1], sampling=params(max_new_tokens=1000), id="x", n=3)
        async with aclosing(service.stream(work)) as chunks:
            async for chunk in chunks:
                if chunk.finish is not None:
                    break
        assert engine.said(Abort) == [Abort(id=id, reason="left") for id in ("x-1", "x-2")]
        assert not engine.running


async def test_cancelling_the_reader_aborts() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        engine.hold()
        for ask in (partial(answers, service), read_all(service)):
            task = asyncio.create_task(ask(service.work(tokens=[1], sampling=params(), n=2)))
            while len(engine.running) < 2:
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            assert not engine.running


def read_all(service: Service) -> Any:
    async def read(work: Work) -> list[TextChunk]:
        return [chunk async for chunk in service.stream(work)]

    return read


async def test_a_slow_reader_gets_fewer_chunks_and_all_of_the_text() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        work = service.work(tokens=[1], sampling=params(max_new_tokens=400), id="x", n=2)
        chunks: list[TextChunk] = []
        async for chunk in service.stream(work):
            chunks.append(chunk)
            await idle(engine)
            for _ in range(10):
                await asyncio.sleep(0)
        assert len(chunks) <= 4
        for answer in await answers(service, work):
            mine = [chunk for chunk in chunks if chunk.index == answer.index]
            assert "".join(chunk.text for chunk in mine) == answer.text
            assert tuple(token for chunk in mine for token in chunk.tokens) == answer.tokens
            assert mine[-1].usage == answer.usage


async def test_each_continuation_ends_with_one_error_when_the_engine_dies() -> None:
    engine = FakeEngine(script=lambda request: [97] * 1000)
    async with serving(engine) as service:
        stream = service.stream(service.work(tokens=[1], sampling=params(max_new_tokens=1000), n=2))
        first = await anext(stream)
        assert first.text
        engine.die()
        service.client.engine_died("killed")
        rest = [chunk async for chunk in stream]
        finishes = [chunk.finish for chunk in rest if chunk.finish]
        assert finishes == [Finish(reason="error", code=503, detail="killed")] * 2
        with pytest.raises(EngineDead):
            service.work(tokens=[1], sampling=params())
        assert not await service.is_alive(5)


async def test_a_fault_of_ours_is_told_to_whoever_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(script=lambda request: [97] * 1000)
    async with serving(engine) as service:
        with monkeypatch.context() as patch:
            patch.setattr(TOKENIZER, "bytes_of", lambda token: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                await answers(service, service.work(tokens=[1], sampling=params(max_new_tokens=1000), n=2))
        assert not engine.running
        assert (await answers(service, service.work(tokens=[1], sampling=params())))[0].text == "a" * 8


async def test_what_the_engine_refuses_comes_first() -> None:
    async with serving(FakeEngine(max_queued=0)) as service:
        (answer,) = await answers(service, service.work(tokens=[1], sampling=params()))
        assert (answer.text, answer.finish.reason, answer.finish.code) == ("", "abort", 503)


async def test_abort_by_prefix() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        engine.hold()
        wanted = (("a", 2), ("ab", 1), ("b", 1))
        works = [service.work(tokens=[1], sampling=params(), id=id, n=n) for id, n in wanted]
        tasks = [asyncio.create_task(answers(service, work)) for work in works]
        while len(engine.running) < 4:
            await asyncio.sleep(0)
        assert service.abort("zzz") == service.abort("") == 0
        assert service.abort("a") == 3
        found: Sequence[Any] = await asyncio.gather(*tasks[:2])
        assert [answer.finish.reason for some in found for answer in some] == ["abort"] * 3
        assert service.abort("", abort_all=True) == 1
        await tasks[2]


async def test_an_id_is_used_by_one_at_a_time() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        engine.hold()
        work = service.work(tokens=[1], sampling=params(), id="a", n=2)
        task = asyncio.create_task(answers(service, work))
        while len(engine.running) < 2:
            await asyncio.sleep(0)
        for id, n in (("a", 1), ("a-1", 1)):
            with pytest.raises(BadRequest, match="being served already"):
                service.work(tokens=[1], sampling=params(), id=id, n=n)
        with pytest.raises(BadRequest, match="being served already"):
            await answers(service, work)
        assert len(engine.said(Request)) == 2
        engine.go()
        await task
        await answers(service, work)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "text"),
        ({"text": "a", "tokens": [1]}, "text"),
        ({"text": ""}, "prompt"),
        ({"tokens": []}, "prompt"),
        ({"text": "\ud800"}, None),
        ({"tokens": [264]}, "input_ids"),
        ({"tokens": [1], "n": 129}, "n"),
        ({"tokens": [1], "id": ""}, "rid"),
        ({"tokens": [1], "sampling": params(stop_regex=("(",))}, "stop_regex"),
        ({"tokens": [1], "logprobs": LogprobSpec(start=2)}, "logprob_start_len"),
        ({"tokens": [1] * 4090}, "max_new_tokens"),
    ],
)
async def test_the_door_refuses_what_cannot_be_served(given: dict[str, Any], field: str | None) -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        with pytest.raises(BadRequest) as error:
            service.work(**{"sampling": params(), **given})
        assert error.value.field == field
        assert not engine.said(Request)


async def test_the_door_knows_the_engines_limits() -> None:
    engine = FakeEngine(context=10)
    async with serving(engine) as service:
        assert service.work(tokens=[1] * 9, sampling=params(max_new_tokens=None)).sampling.max_new_tokens == 1
        with pytest.raises(TooLong):
            service.work(tokens=[1] * 10, sampling=params(max_new_tokens=None))


async def test_flush_waits_for_quiet_as_long_as_it_may() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        assert (await service.flush(0)).ok
        engine.hold()
        task = asyncio.create_task(answers(service, service.work(tokens=[1], sampling=params())))
        while not engine.running:
            await asyncio.sleep(0)
        assert not (await service.flush(0)).ok
        asked = len(engine.said(Flush))
        flush = asyncio.create_task(service.flush(10))
        while len(engine.said(Flush)) < asked + 2:
            await asyncio.sleep(0.01)
        engine.go()
        assert (await flush).ok
        await task


async def test_an_engine_is_alive_when_it_says_something() -> None:
    engine = FakeEngine()
    async with serving(engine) as service:
        assert await service.stats() == engine.stats
        assert await service.is_alive(5)
        engine.hold()
        assert not await service.is_alive(0.05)
        await asyncio.sleep(0)
        assert not engine.running
        probe = asyncio.create_task(service.is_alive(0.1))
        await asyncio.sleep(0.02)
        await service.stats()  # it answers others, so it lives
        assert await probe
        busy = FakeEngine(max_queued=0)
        async with serving(busy) as service:
            assert await service.is_alive(5)


def test_before_the_first_engine_is_ready() -> None:
    service = Service(TOKENIZER, None, EngineClient(FakeEngine()))
    with pytest.raises(EngineDead, match="starting"):
        service.work(tokens=[1], sampling=params())
    service.client.ready = EngineReady(context=8, max_total_tokens=8, page_size=1, vocab_size=2)
    assert service.work(tokens=[1], sampling=params(max_new_tokens=7)).n == 1
