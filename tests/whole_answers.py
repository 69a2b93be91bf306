"""Streams of a service, put together: what tests of whole answers look at."""

from contextlib import aclosing

from msgspec import Struct

from stemma.core.types.output import Finish, Logprob, Usage
from stemma.front.service.collect import Pending
from stemma.front.service.service import Service
from stemma.front.service.work import Work


class Answer(Struct, frozen=True, kw_only=True):
    """One continuation, whole."""

    id: str
    index: int
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...]
    prompt_logprobs: tuple[Logprob, ...]
    finish: Finish
    usage: Usage


async def answers(service: Service, work: Work) -> list[Answer]:
    """Every continuation, in their order. Each must have ended."""
    whole = [Pending() for _ in range(work.n)]
    async with aclosing(service.stream(work)) as chunks:
        async for chunk in chunks:
            whole[chunk.index].add(chunk)
    return [_answer(work.id_of(index), index, pending) for index, pending in enumerate(whole)]


def _answer(id: str, index: int, whole: Pending) -> Answer:
    chunk = whole.take(id, index)
    assert chunk.finish is not None, f"the stream of {id!r} ended without a finish"
    return Answer(
        id=id,
        index=index,
        text=chunk.text,
        tokens=chunk.tokens,
        logprobs=chunk.logprobs,
        prompt_logprobs=chunk.prompt_logprobs,
        finish=chunk.finish,
        usage=chunk.usage or Usage(),
    )
