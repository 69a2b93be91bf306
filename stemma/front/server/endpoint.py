"""One request through the door: who may enter, how large it is, what went wrong, who is still there."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stemma.core.base.errors import StemmaError
from stemma.core.config.serve import ServeConfig
from stemma.front.dialect.gather import Take
from stemma.front.server.auth import Access, Keys
from stemma.front.server.errors import Left, Style, TooLarge, TooSlow, error_response, json_response, known
from stemma.front.server.metrics import Metrics
from stemma.front.server.room import Room

SMALL = 16 << 10  # bytes of a body that are read at once, and that need no room: connections are bounded
HUGE = 1 << 20  # bytes of a body that is read alone
PIECE = 64 << 10  # bytes of an answer that are handed over at once: the next when the client has read most of them
BODY_SECONDS = 120.0  # so long a client may take to send its body
POLITE = 8  # so many times the limit is still read, and thrown away, to let the client hear that it is too much

log = logging.getLogger("requests")


class Call(NamedTuple):
    """What a handler gets: the whole body, the rest of the request, and room for what it makes of them."""

    request: Request
    body: bytes
    take: Take
    room: Room


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

    def __init__(self, endpoint: Endpoint, keys: Keys, serve: ServeConfig, metrics: Metrics, room: Room):
        self._endpoint = endpoint
        self._keys = keys
        self._serve = serve
        self._metrics = metrics
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 499  # nothing was said: the client left

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            for piece in pieces(message):
                await send(piece)

        method, began = scope["method"], time.monotonic()
        counting = self._metrics.http(self._endpoint.path, method, lambda: status)
        with counting, contextlib.suppress(Left), self._room.lend() as take:
            entered = await self._enter(scope, receive, take)
            if isinstance(entered, Call):
                await until_left(self._answer(entered, scope, receive, counted), receive)
            else:
                await entered(scope, receive, counted)
        if self._serve.log_requests:
            log.info("%s %s -> %d in %.3f s", method, self._endpoint.path, status, time.monotonic() - began)

    async def _enter(self, scope: Scope, receive: Receive, take: Take) -> Call | ASGIApp:
        """The whole of the request, or what is said to one that may not enter."""
        headers = Headers(scope=scope)
        if not self._keys.admit(self._endpoint.access, headers):
            return json_response({"error": "Unauthorized"}, 401)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_body(receive, headers, self._serve.max_body_bytes, take)
                return Call(Request(scope), body, take, self._room)
        except StemmaError as error:
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


async def read_body(receive: Receive, headers: Headers, limit: int, take: Take) -> bytes:
    """The body, or TooLarge before more than `limit` bytes are held, Busy before there is no room for them."""
    declared = headers.get("content-length", "")
    parts: list[bytes] = []
    size = 0
    if declared.isdecimal() and int(declared) > POLITE * limit:
        raise TooLarge(f"the body has {declared} bytes; this server reads at most {limit}")
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        before = size
        size += len(message.get("body", b""))
        if size <= limit:
            take(max(size, SMALL) - max(before, SMALL))
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


def pieces(message: Message) -> Iterator[Message]:
    """The same message, its body in parts."""
    body, more = message.get("body", b""), message.get("more_body", False)
    if len(body) <= PIECE:
        yield message
        return
    for at in range(0, len(body), PIECE):
        yield {**message, "body": body[at : at + PIECE], "more_body": more or at + PIECE < len(body)}


async def aside(call: Call, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it here, or in a thread when the body is so large that others would have to wait."""
    if len(call.body) < SMALL:
        return function(*args, **kwargs)
    if len(call.body) < HUGE:
        return await asyncio.to_thread(function, *args, **kwargs)
    return await call.room.alone(partial(function, *args, **kwargs))
