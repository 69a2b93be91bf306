"""What a token costs the front: its processor time per token, for streams of OpenAI's completions.

    python -m benchmarks.front_path [STREAMS]

The front serves HTTP in this process. An engine that only counts and clients that only read run in processes of
their own; the engine says a token of every stream each STEP_SECONDS, as an engine of that speed would. Prints one
JSON line: microseconds of the front's processor time per token, and the tokens per second that went through.
"""

import asyncio
import sys
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Event

import uvicorn

from benchmarks.facts import report
from stemma.bench.http import Address, stream
from stemma.core.config.ask import ask_from
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve
from stemma.core.types.control import Chunks, EngineReady, Hello
from stemma.core.types.output import Finish, TokenChunk, Usage
from stemma.core.types.request import Request
from stemma.core.wire.unix import UnixEngineChannel, UnixFrontChannel, new_address
from stemma.front.server.app import build_app
from stemma.front.server.launch import uvicorn_config
from stemma.front.server.listen import listen
from stemma.front.service.connect import connect

STEP_SECONDS = 0.008
OUTPUT = 400
PORT = 30091
BODY = b'{"prompt": [5, 6, 7], "max_tokens": %d, "stream": true, "ignore_eos": true}' % OUTPUT


def speak(address: str, streams: int) -> None:
    """The engine: waits until all have asked, then says a token to each at every step."""
    channel = UnixEngineChannel(address)
    asked: list[str] = []
    while len(asked) < streams:
        for message in channel.receive(None):
            if isinstance(message, Hello):
                channel.send(0, EngineReady(context=4096, max_total_tokens=4096, page_size=16, vocab_size=2048))
            elif isinstance(message, Request):
                asked.append(message.id)
    due = time.monotonic() + 0.5  # whatever asking took is over by then
    for token in range(OUTPUT):
        due += STEP_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
        is_last = token == OUTPUT - 1
        finish = Finish(reason="length") if is_last else None
        usage = Usage(prompt=3, output=token + 1) if is_last or not token else None
        said = (TokenChunk(id=id, tokens=(300 + token,), finish=finish, usage=usage) for id in asked)
        channel.send(0, Chunks(chunks=tuple(said)))
    channel.close()


def read(streams: int, is_done: Event) -> None:
    """The clients."""

    async def every() -> None:
        address = Address(host="127.0.0.1", port=PORT)
        asks = (stream(address, "/v1/completions", BODY, lambda event: None) for _ in range(streams))
        await asyncio.gather(*asks)

    asyncio.run(every())
    is_done.set()


async def measure(streams: int) -> tuple[float, float]:
    """Seconds of the front's processor, and of the clock, from the first token to the end of the last stream."""
    settled = resolve(ask_from({"port": PORT}), probe())
    address, spawn = new_address(), get_context("spawn")
    is_done = spawn.Event()
    spawn.Process(target=speak, args=(address, streams), daemon=True).start()
    service = connect(settled.serve, UnixFrontChannel(address))
    http = uvicorn.Server(uvicorn_config(build_app(service, settled.serve, settled.engine)))
    with listen(settled.serve) as door:
        hearing = asyncio.create_task(service.client.run())
        serving = asyncio.create_task(http.serve(sockets=[door]))
        await service.client.wait_ready()
        spawn.Process(target=read, args=(streams, is_done), daemon=True).start()
        while service.client.num_heard < 2:  # the first was that it is ready
            await asyncio.sleep(STEP_SECONDS / 2)
        used, began = time.process_time(), time.monotonic()
        await asyncio.to_thread(is_done.wait)
        took = time.process_time() - used, time.monotonic() - began
        http.should_exit = True
        await serving
        hearing.cancel()
        service.client.close()
    return took


def main() -> None:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    used, took = asyncio.run(measure(streams))
    tokens = streams * (OUTPUT - 1)
    report(
        "front_path",
        streams=streams,
        microseconds_per_token=round(used / tokens * 1e6, 1),
        tokens_per_second=round(tokens / took),
        asked_tokens_per_second=round(streams / STEP_SECONDS),
    )


if __name__ == "__main__":
    main()
