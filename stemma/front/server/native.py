"""`/generate`: SGLang's own route."""

import time
from collections.abc import Sequence
from contextlib import aclosing

from starlette.types import ASGIApp

from stemma.front.dialect.body import decode
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
        body = decode(call.body, GenerateBody)
        body.refuse_later()
        items, is_many = await aside(call, self._native.items, body, started)
        if body.stream:
            return await EventStream.open(self._events(items, is_many), "generate")
        results = await self._native.answers(items)
        return json_response(results if is_many else results[0])

    async def _events(self, items: Sequence[Item], is_many: bool) -> Events:
        async with aclosing(self._native.stream(items, is_many, self._is_incremental)) as results:
            async for result in results:
                yield event(result)
