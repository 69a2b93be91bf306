"""An engine without a model: answers over memory, keeps every promise of the wire.

It draws each token by a script or from a hash of all tokens before it, ends each request with exactly
one Finish, honours Abort, and says usage with the first chunk and with the finish.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import assert_never

from stemma.core.types.control import (
    AskStats,
    Chunks,
    EngineReady,
    Flush,
    FromEngine,
    Hello,
    Reply,
    Stats,
    ToEngine,
)
from stemma.core.types.output import Finish, Logprob, TokenChunk, Usage
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import LogprobSpec
from stemma.core.types.tokens import pack, unpack
from stemma.front.service.client import EngineClient

COMPILE_SECONDS = 0.01

Script = Callable[[Request], Iterable[int]]


def hashed_token(before: Sequence[int], vocab_size: int) -> int:
    """The token after `before`: any function of the prefix does, as long as it is one."""
    return int.from_bytes(blake2b(pack(before), digest_size=4).digest(), "little") % vocab_size


def hashed_logprob(tokens: Sequence[int], at: int, spec: LogprobSpec, vocab_size: int) -> Logprob:
    """A made-up logprob of `tokens[at]` that depends on the tokens up to it alone."""

    def value(token: int) -> float:
        return -(1 + hashed_token([*tokens[:at], token], 1000)) / 100

    if at == 0:
        return Logprob(tokens[at], None)
    top = sorted(((token, value(token)) for token in range(min(spec.top, vocab_size))), key=lambda pair: -pair[1])
    return Logprob(tokens[at], value(tokens[at]), tuple(top), tuple(value(token) for token in spec.token_ids))


class FakeEngine:
    """A FrontChannel with an engine behind it. `script(request)` yields the output tokens; by default they are hashed.

    `stop_ids` end a request unless it ignores them. A script that runs dry ends its request with "length".
    `hold()` makes the engine stand still, `go()` lets it run, `sent` keeps all that the front said.
    """

    def __init__(
        self,
        *,
        script: Script | None = None,
        vocab_size: int = 264,
        context: int = 4096,
        stop_ids: tuple[int, ...] = (),
        tokens_per_chunk: int = 1,
        seconds_per_chunk: float = 0.0,
        max_queued: int | None = None,
        refuses: Callable[[Request], str | None] = lambda request: None,
    ):
        self.script = script
        self.ready = EngineReady(context=context, max_total_tokens=4 * context, page_size=16, vocab_size=vocab_size)
        self.stop_ids = stop_ids
        self.tokens_per_chunk = tokens_per_chunk
        self.seconds_per_chunk = seconds_per_chunk
        self.max_queued = max_queued
        self.refuses = refuses  # why it cannot be; asked after a moment, as a grammar that has to compile
        self.sent: list[ToEngine] = []
        self.running: dict[str, asyncio.Task[None]] = {}
        self.stats = Stats(page_size=16, pages=1024, free_pages=1024)
        self._output: dict[str, list[int]] = {}  # tokens already told, of each that runs
        self._requests: dict[str, Request] = {}
        self._outbox: asyncio.Queue[FromEngine] = asyncio.Queue()
        self._may_go = asyncio.Event()
        self._may_go.set()
        self._is_alive = True

    # The channel, as a front sees it.

    def send(self, message: ToEngine) -> None:
        self.sent.append(message)
        if not self._is_alive:
            return
        match message:
            case Hello():
                self._outbox.put_nowait(self.ready)
            case Request():
                self._start(message)
            case Abort():
                self._abort(message)
            case Flush(id=id):
                ok = not self.running
                self._outbox.put_nowait(Reply(id=id, ok=ok, message="Cache flushed." if ok else "Not idle."))
            case AskStats(id=id):
                self._outbox.put_nowait(Reply(id=id, stats=self.stats))
            case _ as never:
                assert_never(never)

    async def receive(self) -> FromEngine:
        return await self._outbox.get()

    def close(self) -> None:
        self.die()

    # What tests do to it.

    def hold(self) -> None:
        self._may_go.clear()

    def go(self) -> None:
        self._may_go.set()

    def die(self) -> None:
        """All that runs is lost without a word, and what is sent is not heard, until `revive`."""
        self._is_alive = False
        for task in self.running.values():
            task.cancel()
        self.running.clear()

    def revive(self) -> None:
        """Another process in its place: it is ready and knows nothing."""
        self._is_alive = True
        self._outbox.put_nowait(self.ready)

    def said(self, kind: type[ToEngine]) -> list[ToEngine]:
        return [message for message in self.sent if isinstance(message, kind)]

    # The engine.

    def _start(self, request: Request) -> None:
        prompt = len(unpack(request.tokens))
        if request.id in self.running:
            raise AssertionError(f"two requests with the id {request.id!r}")
        if self.max_queued is not None and len(self.running) >= self.max_queued:
            finish = Finish(reason="abort", code=503, detail="the queue is full; try again later")
            self._say(TokenChunk(id=request.id, finish=finish, usage=Usage(prompt=prompt)))
            return
        self._requests[request.id] = request
        self._output[request.id] = []
        self.running[request.id] = asyncio.get_running_loop().create_task(self._run(request))

    def _abort(self, abort: Abort) -> None:
        task = self.running.pop(abort.id, None)
        if task is None:
            return
        task.cancel()
        if abort.reason == "stop":
            finish = Finish(reason="stop", detail=abort.matched)
        else:
            finish = Finish(reason="abort", detail="the request was aborted")
        usage = self._usage(abort.id)
        if abort.keep is not None:
            usage = Usage(prompt=usage.prompt, output=min(usage.output, abort.keep))
        self._say(TokenChunk(id=abort.id, finish=finish, usage=usage))

    def _usage(self, id: str) -> Usage:
        return Usage(prompt=len(unpack(self._requests[id].tokens)), output=len(self._output[id]))

    def _say(self, chunk: TokenChunk) -> None:
        self._outbox.put_nowait(Chunks(chunks=(chunk,)))

    def _tokens(self, request: Request) -> Iterable[int]:
        if self.script is not None:
            yield from self.script(request)
            return
        known = [*unpack(request.tokens)]
        while True:
            known.append(hashed_token(known, self.ready.vocab_size))
            yield known[-1]

    async def _run(self, request: Request) -> None:
        prompt, sampling = [*unpack(request.tokens)], request.sampling
        if request.grammar is not None:
            await asyncio.sleep(COMPILE_SECONDS)
        if reason := self.refuses(request):
            refused = Finish(reason="abort", code=400, detail=reason)
            self._say(TokenChunk(id=request.id, finish=refused, usage=Usage(prompt=len(prompt))))
            del self.running[request.id]
            return
        output = self._output[request.id]
        room = self.ready.context - len(prompt)
        limit = room if sampling.max_new_tokens is None else min(room, sampling.max_new_tokens)
        ends = () if sampling.ignore_eos else (*self.stop_ids, *sampling.stop_token_ids)
        tokens = iter(self._tokens(request))
        finish: Finish | None = None
        is_first = True
        while finish is None:
            await asyncio.sleep(self.seconds_per_chunk)
            await self._may_go.wait()
            new: list[int] = []
            while finish is None and len(new) < self.tokens_per_chunk:
                token = next(tokens, None) if len(output) < limit else None
                if token is None:
                    finish = Finish(reason="length")
                    break
                new.append(token)
                output.append(token)
                if token in ends and len(output) > sampling.min_new_tokens:
                    finish = Finish(reason="stop", detail=token)
                elif len(output) == limit:
                    finish = Finish(reason="length")
            usage = self._usage(request.id) if is_first or finish else None
            self._say(self._chunk(request, [*prompt, *output], len(new), is_first, finish, usage))
            is_first = False
        del self.running[request.id]

    def _chunk(
        self,
        request: Request,
        known: list[int],
        new: int,
        is_first: bool,
        finish: Finish | None,
        usage: Usage | None,
    ) -> TokenChunk:
        """What one step says: the last `new` of the known tokens; with the first, what is wanted of the prompt."""
        spec, prompt = request.logprobs, len(unpack(request.tokens))
        wanted: range = range(0)
        scored: range = range(0)
        if spec is not None:
            wanted = range(len(known) - new, len(known))
            scored = range(spec.start, prompt) if is_first and spec.start >= 0 else scored
        of = [(at, hashed_logprob(known, at, spec, self.ready.vocab_size)) for at in (*scored, *wanted) if spec]
        return TokenChunk(
            id=request.id,
            tokens=tuple(known[len(known) - new :]),
            logprobs=tuple(logprob for at, logprob in of if at >= prompt),
            prompt_logprobs=tuple(logprob for at, logprob in of if at < prompt),
            finish=finish,
            usage=usage,
        )


@asynccontextmanager
async def connected(
    engine: FakeEngine, front: int = 0, timeout_seconds: float = 20
) -> AsyncGenerator[EngineClient, None]:
    """A client of the engine, running and ready, for at most so long."""
    client = EngineClient(engine, front)
    task = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(timeout_seconds):
            await client.wait_ready()
            yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        client.close()
