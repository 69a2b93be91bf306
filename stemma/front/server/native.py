"""`/generate`: SGLang's own route."""

import time
from collections.abc import Sequence
from contextlib import aclosing

from starlette.types import ASGIApp

from stemma.front.dialect.body import decode
from stemma.front.dialect.gather import Take, check_size
from stemma.front.dialect.native import GenerateBody, Item, Native
from stemma.front.server.endpoint import Call, aside
from stemma.front.server.errors import json_response
from stemma.front.server.sse import Events, EventStream, event


class Generate:
    """The native route."""

    def __init__(self, native: Native, is_incremental: bool):
        self._native = native
        self._is_incremental = is_incremental

    async def generate(self, call: Call) -> ASGIApp:
        started = time.monotonic()
        items, is_many, is_stream = await aside(call, self._read, call.body, started)
        call.take(check_size([item.work for item in items]))
        if is_stream:
            return await EventStream.open(self._events(items, is_many, call.take), "generate")
        results = await self._native.answers(items, call.take)
        return json_response(results if is_many else results[0])

    def _read(self, content: bytes, started: float) -> tuple[list[Item], bool, bool]:
        """What is to run, and whether the answer is a list, and a stream."""
        body = decode(content, GenerateBody)
        body.refuse_later()
        return *self._native.items(body, started), bool(body.stream)

    async def _events(self, items: Sequence[Item], is_many: bool, take: Take) -> Events:
        async with aclosing(self._native.stream(items, is_many, self._is_incremental, take)) as results:
            async for result in results:
                yield event(result)
