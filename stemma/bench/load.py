"""Sends a workload to a server and writes down when what came back."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from stemma.bench.door import Server
from stemma.bench.http import stream
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Prompt, Span, Workload, gaps, usable_ids
from stemma.core.base.errors import EngineDead, StemmaError

WARM_TOKENS = 8  # output of a request that only warms up
WARM_SEED = 1 << 30  # its prompt has nothing in common with a measured one

Tick = Callable[[Timeline], None]


class Load(Struct, frozen=True, kw_only=True):
    """A workload, and how fast it comes."""

    workload: Workload
    seed: int = 200
    request_rate: float = float("inf")
    max_concurrency: int | None = None
    token_ids: Span | None = None
    warmups: int = 1


async def put(server: Server, load: Load, timelines: list[Timeline], tick: Tick) -> None:
    """Run a load. `timelines` fill as it goes, so that who is interrupted still has them; `tick` sees each one done.

    A request that fails says so in its timeline; only a warm-up raises.
    """
    ids = usable_ids(load.token_ids, server.vocabulary)
    for number in range(load.warmups):
        (prompt, *_) = load.workload.prompts(WARM_SEED + number, ids)
        await _send(server, prompt._replace(output_tokens=min(WARM_TOKENS, prompt.output_tokens)), Timeline(0, 0))
    prompts = load.workload.prompts(load.seed, ids)
    timelines += [Timeline(len(prompt.tokens), prompt.output_tokens) for prompt in prompts]
    await _all(server, load, list(zip(prompts, timelines[-len(prompts) :], strict=True)), tick)


async def _all(server: Server, load: Load, pairs: Sequence[tuple[Prompt, Timeline]], tick: Tick) -> None:
    gate = asyncio.Semaphore(load.max_concurrency or len(pairs))

    async def one(prompt: Prompt, timeline: Timeline) -> None:
        async with gate:
            try:
                await _send(server, prompt, timeline)
            except StemmaError as error:
                timeline.error = error.message
            tick(timeline)

    async with asyncio.TaskGroup() as group:
        for (prompt, timeline), gap in zip(pairs, gaps(load.request_rate, load.seed), strict=False):
            group.create_task(one(prompt, timeline))
            await asyncio.sleep(gap)


async def _send(server: Server, prompt: Prompt, timeline: Timeline) -> None:
    def hear(event: Any) -> None:
        try:
            server.door.read(event, time.perf_counter(), timeline)
        except (LookupError, TypeError) as error:
            raise EngineDead(f"{server.address.name}: an event without {error}: {str(event)[:80]}") from None

    body = server.door.body(prompt)
    timeline.sent = time.perf_counter()
    await stream(server.address, server.door.path, body, hear)
    timeline.is_done = True
