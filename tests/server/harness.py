"""A whole front over a fake engine: tokenizer, template, service, application."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette

from stemma.core.config.engine import CacheConfig, DeviceConfig, EngineConfig, ScheduleConfig
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.core.config.serve import ServeConfig
from stemma.core.types.request import Request
from stemma.front.server.app import build_app
from stemma.front.server.launch import Server, uvicorn_config
from stemma.front.service.client import EngineClient
from stemma.front.service.service import Service
from stemma.front.text.template import ChatTemplate
from stemma.front.text.tokenizer import Tokenizer
from tests.fake_engine import FakeEngine, Script
from tests.unit.front.vocabularies import EOS, byte_level_backend

TOKENIZER = Tokenizer(byte_level_backend(), EOS)
END = TOKENIZER.eos_id or 0
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MODEL = "tiny"
CONTEXT = 512

Json = dict[str, Any]


def says(text: str, ends: bool = True) -> Script:
    """An engine that answers this, whatever it is asked."""
    tokens = [*text.encode(), *([END] if ends else [])]
    return lambda request: tokens


def engine_config() -> EngineConfig:
    model = ModelSpec(
        architecture="Qwen3ForCausalLM", model_type="qwen3", vocab_size=TOKENIZER.vocab_size, hidden=8, layers=1,
        heads=1, kv_heads=1, head_dim=8, intermediate=8, norm_eps=1e-6, rope=RopeSpec(), max_context=CONTEXT,
        windows=(0,), tied=True,
    )  # fmt: skip
    return EngineConfig(
        model_path="/models/tiny",
        model=model,
        load_format="auto",
        context=CONTEXT,
        seed=0,
        cache=CacheConfig(pages=128, page_size=16),
        schedule=ScheduleConfig(max_running=8, max_queued=None, step_tokens=256),
        device=DeviceConfig(),
    )


def fake_engine(
    script: Script | None = None, seconds_per_chunk: float = 0.0, max_queued: int | None = None
) -> FakeEngine:
    return FakeEngine(
        script=script,
        vocab_size=TOKENIZER.vocab_size,
        context=CONTEXT,
        stop_ids=(END,),
        seconds_per_chunk=seconds_per_chunk,
        max_queued=max_queued,
    )


@dataclass
class House:
    """What a test holds: the engine's end, the application, and a client of it."""

    engine: FakeEngine
    service: Service
    app: Starlette
    http: httpx.AsyncClient

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.http.post(path, json=body, headers=headers)

    def requests(self) -> list[Request]:
        return [message for message in self.engine.sent if isinstance(message, Request)]


@asynccontextmanager
async def house(
    engine: FakeEngine | None = None,
    is_ready: bool = True,
    template: str = TEMPLATE,
    tokenizer: Tokenizer = TOKENIZER,
    **serve: object,
) -> AsyncGenerator[House, None]:
    engine = engine or fake_engine(says("Hello there"))
    client = EngineClient(engine)
    service = Service(tokenizer, ChatTemplate({"default": template}, {}), client)
    config = ServeConfig(
        **{"model_path": "/models/tiny", "tokenizer_path": "/models/tiny", "served_model_name": MODEL, **serve}  # type: ignore[arg-type]  # a test names its own
    )
    app = build_app(service, config, engine_config())
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(60):
            if is_ready:
                await client.wait_ready()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
                yield House(engine, service, app, http)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        service.judge.close()


@asynccontextmanager
async def on_a_port(app: Starlette) -> AsyncGenerator[str, None]:
    """The application behind a real socket; yields its address."""
    door = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn_config(app))
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def events(text: str) -> list[Json]:
    """The events of a stream, without the last, which must be [DONE]."""
    assert text.endswith("\n\n")
    lines = text.removesuffix("\n\n").split("\n\n")
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
