"""An end that is no answer is raised, and what is raised says whether to try again."""

import asyncio

import pytest

from stemma.core.base.errors import BadRequest, Busy, EngineDead
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.front.dialect.gather import Runs, check_size
from stemma.front.service.service import Service
from stemma.front.service.work import Work
from tests.fake_engine import FakeEngine, connected
from tests.unit.front.vocabularies import vocabularies


async def test_a_full_queue_is_busy_and_a_death_is_a_death() -> None:
    engine = FakeEngine(max_queued=1)
    engine.hold()
    async with connected(engine) as client:
        service = Service(vocabularies()["llama"], None, client)
        runs = Runs(service)
        first = asyncio.create_task(runs.answers([service.work(tokens=[1], sampling=SamplingParams())]))
        while not engine.running:
            await asyncio.sleep(0)
        with pytest.raises(Busy, match="queue is full"):
            await runs.answers([service.work(tokens=[1], sampling=SamplingParams())])
        client.engine_died("killed by SIGKILL")
        with pytest.raises(EngineDead, match="SIGKILL"):
            await first


async def test_many_continuations_of_many_long_prompts_do_not_fill_the_engine() -> None:
    engine = FakeEngine(context=40_000)
    async with connected(engine) as client:
        service = Service(vocabularies()["llama"], None, client)
        work = service.work(tokens=[1] * 30_000, sampling=SamplingParams(max_new_tokens=1), n=128)
        check_size([work] * 8)
        with pytest.raises(BadRequest, match="34560000 tokens") as error:
            await Runs(service).answers([work] * 9)
        assert error.value.field == "n"
        assert engine.said(Request) == []


async def test_more_logprobs_than_can_be_kept_are_refused_before_they_are_made() -> None:
    engine = FakeEngine(context=40_000)
    async with connected(engine) as client:
        service = Service(vocabularies()["llama"], None, client)

        def works(count: int, start: int, top: int, chosen: int = 0) -> list[Work]:
            spec = LogprobSpec(start=start, top=top, token_ids=tuple(range(chosen)))
            sampling = SamplingParams(max_new_tokens=8)
            return [service.work(tokens=[1] * 30_000, sampling=sampling, logprobs=spec)] * count

        check_size(works(4, 0, 128))
        check_size(works(1000, -1, 128))
        check_size(works(100, 29_990, 128))
        for refused in (works(5, 0, 128), works(3, 0, 0, 260)):
            with pytest.raises(BadRequest, match="log-probabilities"):
                await Runs(service).answers(refused)
        assert engine.said(Request) == []
