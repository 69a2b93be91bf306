"""The near end of an engine: requests go out, each comes back as a stream of chunks."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import assert_never

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.types.control import AskStats, Chunks, EngineReady, Flush, FromEngine, Hello, Reply
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.wire.channel import FrontChannel


class TokenStream(AsyncIterator[TokenChunk]):
    """The chunks of one request, in order; ends after the one with the finish. Filled by the EngineClient."""

    def __init__(self, id: str):
        self.id = id
        self.is_finished = False  # the engine has said its last word; it may not have been read yet
        self._chunks: deque[TokenChunk] = deque()
        self._has_news = asyncio.Event()

    def put(self, chunk: TokenChunk) -> None:
        self._chunks.append(chunk)
        self.is_finished = chunk.finish is not None
        self._has_news.set()

    async def __anext__(self) -> TokenChunk:
        while not self._chunks:
            if self.is_finished:
                raise StopAsyncIteration
            self._has_news.clear()
            await self._has_news.wait()
        return self._chunks.popleft()


class EngineClient:
    """Talks to one engine; used from one event loop, where `run` must be running.

    Always: an id is in flight from `submit` until the engine's finish, whether anybody still reads it or not.
    """

    def __init__(self, channel: FrontChannel, front: int = 0):
        self.ready: EngineReady | None = None  # None: the engine is starting, or died
        self.num_heard = 0  # messages of the engine
        self._channel = channel
        self._front = front
        self._streams: dict[str, TokenStream] = {}
        self._replies: dict[str, asyncio.Future[Reply]] = {}
        self._num_asked = 0
        self._became_ready = asyncio.Event()

    async def run(self) -> None:
        """Receive until cancelled."""
        self.greet()
        while True:
            self._dispatch(await self._channel.receive())

    async def wait_ready(self) -> EngineReady:
        while self.ready is None:
            await self._became_ready.wait()
        return self.ready

    def require_ready(self) -> EngineReady:
        if self.ready is None:
            raise EngineDead("the engine is starting; try again in a moment")
        return self.ready

    def is_in_flight(self, id: str) -> bool:
        return id in self._streams

    def ids(self) -> list[str]:
        """All that is in flight, oldest first."""
        return list(self._streams)

    def submit(self, request: Request) -> TokenStream:
        """Raises EngineDead without an engine, BadRequest when the id is in flight."""
        self.require_ready()
        if request.id in self._streams:
            raise BadRequest(f"a request with the id {request.id!r} is being served already; choose another", "rid")
        self._channel.send(request)
        stream = self._streams[request.id] = TokenStream(request.id)
        return stream

    def abort(self, abort: Abort) -> None:
        if abort.id in self._streams:
            self._channel.send(abort)

    async def flush(self) -> Reply:
        return await self._ask(Flush(id=self._next_id(), reply_to=self._front))

    async def stats(self) -> Reply:
        return await self._ask(AskStats(id=self._next_id(), reply_to=self._front))

    def engine_died(self, message: str) -> None:
        """End all that is in flight with one error each, and greet the engine that comes next.

        What was said while nobody listened may reach that engine after all: it is taken back first.
        """
        self.ready = None
        self._became_ready.clear()
        for stream in self._streams.values():
            stream.put(TokenChunk(id=stream.id, finish=Finish(reason="error", code=503, detail=message)))
            self._channel.send(Abort(id=stream.id, reason="left"))
        self._streams.clear()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(EngineDead(message))
        self.greet()

    def greet(self) -> None:
        """Introduce this front to the engine, which then says when it is ready. May be said again."""
        self._channel.send(Hello(front=self._front))

    def close(self) -> None:
        self._channel.close()

    def _dispatch(self, message: FromEngine) -> None:
        self.num_heard += 1
        match message:
            case Chunks(chunks=chunks):
                for chunk in chunks:
                    stream = self._streams.get(chunk.id)
                    if stream is not None:  # else it is of an engine that died
                        stream.put(chunk)
                    if chunk.finish is not None:
                        self._streams.pop(chunk.id, None)
            case Reply(id=id):
                reply = self._replies.get(id)
                if reply is not None and not reply.done():
                    reply.set_result(message)
            case EngineReady():
                self.ready = message
                self._became_ready.set()
            case _ as never:
                assert_never(never)

    async def _ask(self, question: Flush | AskStats) -> Reply:
        self.require_ready()
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[question.id] = reply
        self._channel.send(question)
        try:
            return await reply
        finally:
            del self._replies[question.id]

    def _next_id(self) -> str:
        self._num_asked += 1
        return f"{self._front}-{self._num_asked}"
