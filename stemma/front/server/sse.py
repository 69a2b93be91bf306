"""Server-sent events: `data: {...}`, a blank line, and `data: [DONE]` at the end."""

from collections.abc import AsyncGenerator

import msgspec
from starlette.types import Receive, Scope, Send

from stemma.front.server.errors import DONE, Style, error_event, known

Events = AsyncGenerator[bytes, None]

_encode = msgspec.json.Encoder().encode


def event(content: object) -> bytes:
    return b"data: " + _encode(content) + b"\n\n"


class EventStream:
    """A response that is sent as it is made. Its events are closed whatever ends it.

    What fails before the first event fails in `open`, and is still a plain HTTP error; what fails
    later is told by an event.
    """

    headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))

    def __init__(self, first: bytes, rest: Events, style: Style):
        self._first = first
        self._rest = rest
        self._style = style

    @classmethod
    async def open(cls, events: Events, style: Style) -> "EventStream":
        return cls(await anext(events), events, style)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
            await write(self._first)
            try:
                async for body in self._rest:
                    await write(body)
                await write(DONE)
            except Exception as error:
                await write(error_event(known(error), self._style))
            await write(b"", more=False)
        finally:
            await self._rest.aclose()
