"""What operators ask: is it well, what is it, what does it do; and the few things they may tell it."""

import asyncio
import math
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.config.engine import EngineConfig
from stemma.core.config.serve import ServeConfig
from stemma.core.types.control import Stats
from stemma.front.dialect.about import model_info, server_info
from stemma.front.dialect.body import decode
from stemma.front.server.endpoint import Call
from stemma.front.server.errors import json_response
from stemma.front.server.metrics import Metrics
from stemma.front.service.service import Service

HEALTH_SECONDS = 20.0
STATS_SECONDS = 5.0
MAX_FLUSH_SECONDS = 3600.0


class AbortBody(Struct):
    rid: Annotated[str, Meta(max_length=256)] | None = None
    abort_all: bool | None = False


class Admin:
    """The routes of operators and of load balancers."""

    def __init__(self, service: Service, serve: ServeConfig, engine: EngineConfig, metrics: Metrics):
        self._service = service
        self._serve = serve
        self._engine = engine
        self._metrics = metrics

    async def root(self, call: Call) -> ASGIApp:
        return json_response("Stemma is running")

    async def health(self, call: Call) -> ASGIApp:
        """Whether there is an engine that has said it is ready."""
        return Response(status_code=200 if self._service.client.ready is not None else 503)

    async def health_generate(self, call: Call) -> ASGIApp:
        """Whether the engine says anything when asked for a token."""
        return Response(status_code=200 if await self._service.is_alive(HEALTH_SECONDS) else 503)

    async def metrics(self, call: Call) -> ASGIApp:
        return Response(self._metrics.page(await self._stats()), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def flush(self, call: Call) -> ASGIApp:
        reply = await self._service.flush(seconds(call.request.query_params.get("timeout", "0")))
        return PlainTextResponse(reply.message or "Cache flushed.", 200 if reply.ok else 400)

    async def abort(self, call: Call) -> ASGIApp:
        body = decode(call.body, AbortBody)
        if not body.rid and not body.abort_all:
            raise BadRequest("rid: name what to abort, or set abort_all", "rid")
        self._service.abort(body.rid or "", bool(body.abort_all))
        return Response()

    async def model_info(self, call: Call) -> ASGIApp:
        return json_response(model_info(self._serve, self._engine))

    async def server_info(self, call: Call) -> ASGIApp:
        """Every setting, keys excepted, and how the engine does."""
        return json_response(server_info(self._serve, self._engine, self._service.client.ready, await self._stats()))

    async def _stats(self) -> Stats | None:
        """What the engine says of itself; None while there is none, or when it is too busy to say."""
        try:
            async with asyncio.timeout(STATS_SECONDS):
                return await self._service.stats()
        except (EngineDead, TimeoutError):
            return None


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_FLUSH_SECONDS:
        raise BadRequest(f"timeout: {text!r} is not a time of 0 to {MAX_FLUSH_SECONDS:.0f} seconds", "timeout")
    return value
