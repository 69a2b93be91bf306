"""An OpenAI door for libraries that have none: `/v1/completions`, token ids in, a stream of text out.

Depends on starlette and uvicorn only, so that it runs in the environment of any library.
"""

import asyncio
import json
import os
import queue
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

SENDING_TURNS = 4  # of the event loop, until tokens that were pushed are written to their sockets
HALF = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt that waits for a library; `push` takes the tokens of its answer as they come, from any thread.

    `sent` waits until what was pushed, of all jobs, is on its way.
    """

    prompt: list[int]
    max_tokens: int
    push: Callable[[Sequence[int]], None]
    sent: Callable[[], None]


Jobs = queue.Queue[Job]


class Text:
    """Tokens to text, letter by whole letter, looking back as little as that needs."""

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self.tokens: list[int] = []
        self._begin = self._said = 0  # of the last text, and behind it

    def add(self, tokens: Sequence[int]) -> str:
        self.tokens += tokens
        before = self._decode(self.tokens[self._begin : self._said])
        whole = self._decode(self.tokens[self._begin :])
        if whole.endswith(HALF):
            return ""
        self._begin, self._said = self._said, len(self.tokens)
        return whole[len(before) :]


def serve(port: int, decode: Callable[[list[int]], str], run: Callable[[Jobs], None]) -> None:
    """Serve until terminated. `run` answers jobs for ever, in a thread of its own."""
    jobs: Jobs = queue.Queue()

    def work() -> None:
        try:
            run(jobs)
        except Exception:
            # Nobody would answer any more: better no server than one that is silent.
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=work, daemon=True).start()

    async def models(request: Request) -> Response:
        return JSONResponse({"data": [{"id": "model"}]})

    async def completions(request: Request) -> Response:
        body = await request.json()
        return StreamingResponse(stream(body["prompt"], body["max_tokens"]), media_type="text/event-stream")

    async def stream(prompt: list[int], max_tokens: int) -> AsyncIterator[str]:
        loop, heard, text = asyncio.get_running_loop(), asyncio.Queue[Sequence[int]](), Text(decode)

        def push(tokens: Sequence[int]) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, tokens)

        def sent() -> None:
            done = threading.Event()

            def later(turns: int) -> None:
                done.set() if not turns else loop.call_soon(later, turns - 1)

            loop.call_soon_threadsafe(later, SENDING_TURNS)
            done.wait()

        jobs.put(Job(prompt, max_tokens, push, sent))
        while len(text.tokens) < max_tokens:
            choice = {"index": 0, "text": text.add(await heard.get())}
            usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text.tokens)}
            yield f"data: {json.dumps({'choices': [choice], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"

    routes = [Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])]
    uvicorn.run(Starlette(routes=routes), port=port, log_level="warning")
