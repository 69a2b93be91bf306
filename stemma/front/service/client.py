"""The near end of an engine: requests go out, and chunks come back to whoever listens."""

import asyncio
from collections.abc import Callable
from typing import assert_never

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.types.control import AskStats, Chunks, EngineReady, Flush, FromEngine, Hello, Reply
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.wire.channel import FrontChannel

Listener = Callable[[TokenChunk], None]  # hears the chunks of a request, in order, and raises nothing


class EngineClient:
    """Talks to one engine; used from one event loop, where `run` must be running.

    Always: an id is in flight from `submit` until the engine's finish, whether anybody still reads it or not.
    """

    def __init__(self, channel: FrontChannel, front: int = 0):
        self.ready: EngineReady | None = None  # None: the engine is starting, or died
        self.num_heard = 0  # messages of the engine
        self._channel = channel
        self._front = front
        self._listeners: dict[str, Listener] = {}
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

    def check_is_new(self, id: str) -> None:
        if id in self._listeners:
            raise BadRequest(f"a request with the id {id!r} is being served already; choose another", "rid")

    def ids(self) -> list[str]:
        """All that is in flight, oldest first."""
        return list(self._listeners)

    def submit(self, request: Request, listener: Listener) -> None:
        """Raises EngineDead without an engine, BadRequest when the id is in flight."""
        self.require_ready()
        self.check_is_new(request.id)
        self._channel.send(request)
        self._listeners[request.id] = listener

    def abort(self, abort: Abort) -> None:
        if abort.id in self._listeners:
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
        for id, listener in self._listeners.items():
            listener(TokenChunk(id=id, finish=Finish(reason="error", code=503, detail=message)))
            self._channel.send(Abort(id=id, reason="left"))
        self._listeners.clear()
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
            case Chunks():
                for chunk in message.every():
                    listener = self._listeners.get(chunk.id)
                    if listener is None:  # it is of an engine that died
                        continue
                    if chunk.finish is not None:
                        del self._listeners[chunk.id]
                    listener(chunk)
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
