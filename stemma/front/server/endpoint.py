"""One request through the door: who may enter, how large it is, what went wrong, who is still there."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stemma.core.config.serve import ServeConfig
from stemma.front.server.auth import Access, Keys
from stemma.front.server.errors import Left, Style, TooLarge, TooSlow, error_response, json_response, known
from stemma.front.server.metrics import Metrics

LARGE = 16 << 10  # bytes of a body whose text is better tokenized in a thread
BODY_SECONDS = 120.0  # so long a client may take to send its body
POLITE = 8  # so many times the limit is still read, and thrown away, to let the client hear that it is too much

log = logging.getLogger("requests")


class Call(NamedTuple):
    """What a handler gets: the whole body, and the rest of the request."""

    request: Request
    body: bytes


P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[Call], Awaitable[ASGIApp]]


class Endpoint(NamedTuple):
    """A line of the route table."""

    path: str
    methods: str
    handler: Handler
    access: Access = "normal"
    errors: Style = "native"


class Door:
    """The ASGI application of one endpoint.

    Reads the body, then serves in a task beside one that waits for the client to leave: whichever
    ends first ends the other, so a client that leaves cancels its work, streaming or not.
    """

    def __init__(self, endpoint: Endpoint, keys: Keys, serve: ServeConfig, metrics: Metrics):
        self._endpoint = endpoint
        self._keys = keys
        self._serve = serve
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 499  # nothing was said: the client left

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method, began = scope["method"], time.monotonic()
        with self._metrics.http(self._endpoint.path, method, lambda: status), contextlib.suppress(Left):
            entered = await self._enter(scope, receive)
            if isinstance(entered, Call):
                await until_left(self._answer(entered, scope, receive, counted), receive)
            else:
                await entered(scope, receive, counted)
        if self._serve.log_requests:
            log.info("%s %s -> %d in %.3f s", method, self._endpoint.path, status, time.monotonic() - began)

    async def _enter(self, scope: Scope, receive: Receive) -> Call | ASGIApp:
        """The whole of the request, or what is said to one that may not enter."""
        headers = Headers(scope=scope)
        if not self._keys.admit(self._endpoint.access, headers):
            return json_response({"error": "Unauthorized"}, 401)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return Call(Request(scope), await read_body(receive, headers, self._serve.max_body_bytes))
        except TooLarge as error:
            return error_response(error, self._endpoint.errors)
        except TimeoutError:
            late = TooSlow(f"the body did not arrive within {BODY_SECONDS:.0f} seconds")
            return error_response(late, self._endpoint.errors)

    async def _answer(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._endpoint.handler(call)
        except Exception as error:
            response = error_response(known(error), self._endpoint.errors)
        await response(scope, receive, send)


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The body, or TooLarge before more than `limit` bytes are held."""
    declared = headers.get("content-length", "")
    parts: list[bytes] = []
    size = 0
    if declared.isdecimal() and int(declared) > POLITE * limit:
        raise TooLarge(f"the body has {declared} bytes; this server reads at most {limit}")
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        size += len(message.get("body", b""))
        if size <= limit:
            parts.append(message.get("body", b""))
        elif parts:
            parts.clear()
        if size > POLITE * limit or not message.get("more_body", False):
            break
    if size > limit:
        raise TooLarge(f"the body has more than {limit} bytes, the most that this server reads")
    return b"".join(parts)


async def until_left(serving: Awaitable[None], receive: Receive) -> None:
    """Serve until it is done or the client leaves."""

    async def leaving() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(serving), asyncio.ensure_future(leaving())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        served, _ = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(served, Exception):
        raise served


async def aside(call: Call, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it here, or in a thread when the body is so large that others would have to wait."""
    if len(call.body) < LARGE:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
