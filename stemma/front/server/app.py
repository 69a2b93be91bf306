"""The route table."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stemma.core.config.engine import EngineConfig
from stemma.core.config.serve import ServeConfig
from stemma.front.dialect.defaults import read_defaults
from stemma.front.dialect.gather import Runs
from stemma.front.dialect.native import Native
from stemma.front.server.admin import Admin
from stemma.front.server.auth import Keys
from stemma.front.server.endpoint import Door, Endpoint
from stemma.front.server.errors import json_response
from stemma.front.server.metrics import Metrics
from stemma.front.server.native import Generate
from stemma.front.server.openai.chat import Chat
from stemma.front.server.openai.completions import Completions
from stemma.front.server.openai.models import Models
from stemma.front.server.openai.tokenize import Tokens
from stemma.front.server.room import Room
from stemma.front.service.service import Service


def build_app(service: Service, serve: ServeConfig, engine: EngineConfig) -> Starlette:
    """The ASGI application. Raises ConfigError when the defaults of sampling cannot be."""
    metrics = Metrics(serve.served_model_name)
    keys = Keys(serve.api_key, serve.admin_api_key)
    room = Room(serve.max_held_bytes)
    return Starlette(
        routes=[
            Route(line.path, Door(line, keys, serve, metrics, room), methods=line.methods.split())
            for line in endpoints(service, serve, engine, metrics)
        ],
        middleware=[
            Middleware(
                CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], allow_credentials=True
            )
        ],
        exception_handlers={HTTPException: no_route},
    )


def endpoints(service: Service, serve: ServeConfig, engine: EngineConfig, metrics: Metrics) -> list[Endpoint]:
    """Everything that can be asked, who may ask it, and in whose words an error is told."""
    defaults = read_defaults(serve)
    runs = Runs(service, serve.stream_interval, metrics.watch)
    native = Generate(Native(service, runs, defaults.native, serve.weight_version), serve.incremental_streaming)
    chat = Chat(service, runs, serve, defaults)
    completions = Completions(service, runs, serve, defaults)
    models = Models(serve, engine.context)
    tokens = Tokens(service, engine.context)
    admin = Admin(service, serve, engine, metrics)
    return [
        Endpoint("/generate", "POST PUT", native.generate, "normal", "generate"),
        Endpoint("/v1/chat/completions", "POST", chat.complete, "normal", "openai"),
        Endpoint("/v1/completions", "POST", completions.complete, "normal", "openai"),
        Endpoint("/v1/models", "GET", models.list, "normal", "openai"),
        Endpoint("/v1/models/{model:path}", "GET", models.one, "normal", "openai"),
        Endpoint("/tokenize", "POST", tokens.tokenize, "normal", "openai"),
        Endpoint("/v1/tokenize", "POST", tokens.tokenize, "normal", "openai"),
        Endpoint("/detokenize", "POST", tokens.detokenize, "normal", "openai"),
        Endpoint("/v1/detokenize", "POST", tokens.detokenize, "normal", "openai"),
        Endpoint("/", "GET", admin.root, "normal", "native"),
        Endpoint("/model_info", "GET", admin.model_info, "normal", "native"),
        Endpoint("/get_model_info", "GET", admin.model_info, "normal", "native"),
        Endpoint("/server_info", "GET", admin.server_info, "normal", "native"),
        Endpoint("/get_server_info", "GET", admin.server_info, "normal", "native"),
        Endpoint("/health", "GET", admin.health, "open", "native"),
        Endpoint("/health_generate", "GET", admin.health_generate, "open", "native"),
        Endpoint("/ready", "GET", admin.health, "open", "native"),
        Endpoint("/metrics", "GET", admin.metrics, "open", "native"),
        Endpoint("/flush_cache", "GET POST", admin.flush, "admin", "native"),
        Endpoint("/abort_request", "POST", admin.abort, "admin", "native"),
    ]


async def no_route(request: Request, error: Exception) -> Response:
    """An address that there is not, or a method that it does not take."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = error.detail if isinstance(error, HTTPException) else "Not Found"
    content = {"object": "error", "message": message, "type": str(status), "param": None, "code": status}
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
    return json_response(content, status, headers)
