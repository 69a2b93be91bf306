"""What operators ask: is it well, what is it, what does it do; and the few things they may tell it."""

import asyncio
import math
from importlib.metadata import version
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.config.engine import EngineConfig
from stemma.core.config.serve import ServeConfig
from stemma.core.types.control import Stats
from stemma.front.server.body import decode
from stemma.front.server.endpoint import Call
from stemma.front.server.errors import json_response
from stemma.front.server.metrics import Metrics, used_pages
from stemma.front.service.service import Service

HEALTH_SECONDS = 20.0
STATS_SECONDS = 5.0
MAX_FLUSH_SECONDS = 3600.0
SECRET = ("api_key", "admin_api_key")


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
        return json_response(
            {
                "model_path": self._serve.model_path,
                "served_model_name": self._serve.served_model_name,
                "tokenizer_path": self._serve.tokenizer_path,
                "is_generation": True,
                "preferred_sampling_params": msgspec.json.decode(self._serve.preferred_sampling) or None,
                "weight_version": self._serve.weight_version,
                "load_format": self._engine.load_format,
                "reasoning_parser": None,
                "tool_call_parser": None,
                "disaggregation_mode": "null",
                "has_image_understanding": False,
                "has_audio_understanding": False,
                "model_type": self._engine.model.model_type,
                "architectures": [self._engine.model.architecture],
            }
        )

    async def server_info(self, call: Call) -> ASGIApp:
        """Every setting, keys excepted, and how the engine does."""
        ready, stats = self._service.client.ready, await self._stats()
        engine = self._engine
        settings = {name: value for name, value in msgspec.structs.asdict(self._serve).items() if name not in SECRET}
        return json_response(
            {
                **settings,
                "context_length": engine.context,
                "random_seed": engine.seed,
                "load_format": engine.load_format,
                "page_size": engine.cache.page_size,
                "disable_radix_cache": not engine.cache.radix,
                "radix_eviction_policy": engine.cache.eviction,
                "max_running_requests": engine.schedule.max_running,
                "max_queued_requests": engine.schedule.max_queued,
                "chunked_prefill_size": engine.schedule.step_tokens,
                "schedule_policy": engine.schedule.policy,
                "schedule_conservativeness": engine.schedule.conservativeness,
                "schedule_depth": engine.schedule.depth,
                "device": engine.device.device,
                "dtype": engine.device.dtype,
                "kv_cache_dtype": engine.device.kv_dtype,
                "attention_backend": engine.device.attention,
                "threads": engine.device.threads,
                "status": "starting" if ready is None else "ready",
                "max_total_num_tokens": engine.cache.pages * engine.cache.page_size,
                "max_req_input_len": engine.context - 1,
                "startup_time": None if ready is None else ready.startup_seconds,
                "internal_states": [] if stats is None else [state_of(stats)],
                "version": version("stemma-llm"),
                "frontend": "python",
            }
        )

    async def _stats(self) -> Stats | None:
        """What the engine says of itself; None while there is none, or when it is too busy to say."""
        try:
            async with asyncio.timeout(STATS_SECONDS):
                return await self._service.stats()
        except (EngineDead, TimeoutError):
            return None


def state_of(stats: Stats) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(stats),
        "last_gen_throughput": stats.output_tokens_per_second,
        "num_running_reqs": stats.running,
        "num_queue_reqs": stats.waiting,
        "num_used_tokens": used_pages(stats) * stats.page_size,
        "memory_usage": {"token_capacity": stats.pages * stats.page_size},
    }


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_FLUSH_SECONDS:
        raise BadRequest(f"timeout: {text!r} is not a time of 0 to {MAX_FLUSH_SECONDS:.0f} seconds", "timeout")
    return value
