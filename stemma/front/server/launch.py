"""The server's main: serve HTTP, watch the engine, end both."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial

import uvicorn

from stemma.core.base.clock import process_seconds
from stemma.core.base.log import set_up_logging
from stemma.core.config.engine import EngineConfig
from stemma.core.config.serve import ServeConfig
from stemma.core.wire.unix import UnixFrontChannel
from stemma.front.server.app import build_app
from stemma.front.server.connection import Connection
from stemma.front.server.outlet import Burst
from stemma.front.service.client import EngineClient
from stemma.front.service.connect import connect
from stemma.front.service.watch import REFUSED, EngineProcess, describe

MAX_DEATHS = 5  # so often an engine may die within DEATH_SECONDS and be started again
DEATH_SECONDS = 60.0

log = logging.getLogger("server")


def serve(process: EngineProcess, door: socket.socket, engine: EngineConfig, config: ServeConfig) -> int:
    """Serve until interrupted; returns the exit status. `process` was started, `door` listens already."""
    set_up_logging("server", config.log_level)
    open_more_files()
    return asyncio.run(run(process, door, engine, config))


async def run(process: EngineProcess, door: socket.socket, engine: EngineConfig, config: ServeConfig) -> int:
    try:
        return await run_beside(process, door, engine, config)
    finally:
        # Here and not after the event loop: a thread of the loop waits for the engine's end.
        await asyncio.to_thread(process.end)


async def run_beside(process: EngineProcess, door: socket.socket, engine: EngineConfig, config: ServeConfig) -> int:
    """Serve until interrupted, or until there is no engine and will be none."""
    service = connect(config, UnixFrontChannel(process.address))
    http = Server(uvicorn_config(build_app(service, config, engine)))
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, interrupted)
    tasks = [
        hearing := asyncio.create_task(service.client.run()),
        asyncio.create_task(announce(service.client, config)),
        watching := asyncio.create_task(watch(process, service.client)),
        stopping := asyncio.create_task(interrupted.wait()),
    ]
    serving = asyncio.create_task(http.serve(sockets=[door]))
    await asyncio.wait([hearing, watching, stopping, serving], return_when=asyncio.FIRST_COMPLETED)
    service.client.engine_died("the server is stopping")
    http.should_exit = True
    await serving
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    service.close()
    if not hearing.cancelled():
        hearing.result()  # raises: who cannot hear the engine cannot serve
    return watching.result() if watching.done() and not watching.cancelled() else 0


def on_signal(interrupted: asyncio.Event) -> None:
    """The first time: end in good order. The second time: at once; the engine sees its pipe close."""
    if interrupted.is_set():
        os._exit(130)
    interrupted.set()


def open_more_files() -> None:
    """Every client is an open file, and shells grant 1024 of the many that the system would."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def announce(client: EngineClient, config: ServeConfig) -> None:
    ready = await client.wait_ready()
    gc.collect()
    gc.freeze()  # all that is here stays; nobody's stream has to wait while it is looked through again
    host = f"[{config.host}]" if ":" in config.host else config.host
    log.info(
        "%s is served at http://%s:%d after %.2f s; context %d, cache %d tokens",
        config.served_model_name, host, config.port, process_seconds(), ready.context, ready.max_total_tokens,
    )  # fmt: skip


async def watch(process: EngineProcess, client: EngineClient) -> int:
    """Start an engine anew whenever it dies. Returns the exit status of this server when that is no use."""
    was_ready = False
    deaths: list[float] = []
    while True:
        status = await process.ended()
        was_ready = was_ready or client.ready is not None
        client.engine_died(f"the engine died ({describe(status)}); it is being started again")
        if status == REFUSED or not was_ready:
            if status != REFUSED:
                log.error("the engine ended while it started: %s", describe(status))
            return 1
        now = time.monotonic()
        deaths = [*(death for death in deaths if now - death < DEATH_SECONDS), now]
        if len(deaths) > MAX_DEATHS:
            log.error("the engine died %d times within %.0f s; giving up", len(deaths), DEATH_SECONDS)
            return 1
        pause = 2.0 ** (len(deaths) - 1)
        log.error("the engine died (%s); the next one starts in %.0f s", describe(status), pause)
        await asyncio.sleep(pause)
        process.restart()
        client.greet()


class Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def uvicorn_config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # starlette's type of an application is wider than uvicorn's
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        # By h11, which bounds the size of a request's head; httptools does not.
        http=partial(Connection, Burst()),  # type: ignore[arg-type]  # it is called, as a class would be
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
