"""The engine in your own process: `Engine(model_path=...).generate(...)`, as SGLang's offline engine is called.

The caller's thread only waits. An event loop in one thread holds the service, the engine's loop turns in
another, and between them is the same channel as between two processes.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

import msgspec

from stemma.core.base.errors import BadRequest, EngineDead
from stemma.core.config.ask import ask_from
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve
from stemma.core.types.sampling import SamplingParams
from stemma.core.wire.channel import Closed, EngineChannel
from stemma.core.wire.local import LocalFrontChannel, local_channel
from stemma.engine.build import build_loop
from stemma.front.dialect.about import model_info, server_info
from stemma.front.dialect.body import misfit
from stemma.front.dialect.defaults import read_defaults
from stemma.front.dialect.gather import Runs
from stemma.front.dialect.native import GenerateBody, Native
from stemma.front.service.connect import connect
from stemma.front.service.service import Service

T = TypeVar("T")
END_SECONDS = 2.0  # so long callers have to hear of a shutdown
Result = dict[str, Any]  # text, output_ids, meta_info: JSON, as `/generate` answers

log = logging.getLogger("engine")


class Engine:
    """A model, ready to generate. Keyword arguments are the options of `stemma serve`, with underscores.

    Used from any thread. Raises ConfigError, CheckpointError when the model cannot be served; the calls
    raise BadRequest for what cannot be generated, EngineDead after `shutdown`.
    """

    def __init__(self, **options: object):
        settled = resolve(ask_from({"log_level": "error", **options}), probe())
        self._config = settled.engine
        self._serve = settled.serve
        self.programs: object = None  # the language keeps here by what programs run on this engine
        self._is_running = True
        self._receiving: asyncio.Task[None] | None = None
        alive: Future[asyncio.AbstractEventLoop] = Future()
        self._service_thread = threading.Thread(target=lambda: asyncio.run(self._live(alive)), daemon=True)
        self._service_thread.start()
        self._loop = alive.result()
        try:
            self._front, channel = self._wait(_open_channel())
            built: Future[None] = Future()
            self._engine_thread = threading.Thread(target=self._turn, args=(channel, built), daemon=True)
            self._engine_thread.start()
            built.result()
            self._service = self._wait(self._connect())
        except BaseException:
            self._end_service()
            raise
        runs = Runs(self._service)
        self._native = Native(self._service, runs, read_defaults(self._serve).native, self._serve.weight_version)

    @overload
    def generate(
        self, prompt: str | list[str] | None = None, sampling_params: Any = None, *, stream: Literal[True], **body: Any
    ) -> Generator[Result, None, None]: ...

    @overload
    def generate(
        self,
        prompt: str,
        sampling_params: dict[str, Any] | None = None,
        *,
        stream: Literal[False] = False,
        **body: Any,
    ) -> Result: ...

    @overload
    def generate(
        self, prompt: Any = None, sampling_params: Any = None, *, stream: Literal[False] = False, **body: Any
    ) -> Any: ...

    def generate(self, prompt: Any = None, sampling_params: Any = None, *, stream: bool = False, **body: Any) -> Any:
        """Continue one prompt (a dict comes back), or several, or one n times (a list of dicts).

        `body` holds more fields of `/generate`: input_ids, rid, return_logprob, logprob_start_len,
        top_logprobs_num, token_ids_logprob, priority, cache_salt, ... With `stream`, a generator of each
        answer as it grows; closing it aborts.
        """
        if stream:
            return self._streamed(self._body(prompt, sampling_params, body))
        return self._wait(self._generate(self._body(prompt, sampling_params, body)))

    async def async_generate(
        self, prompt: Any = None, sampling_params: Any = None, *, stream: bool = False, **body: Any
    ) -> Any:
        """The same for an event loop of your own: awaited, or with `stream` an asynchronous generator."""
        if stream:
            return self._async_streamed(self._body(prompt, sampling_params, body))
        return await asyncio.wrap_future(self._start(self._generate(self._body(prompt, sampling_params, body))))

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        """End what is under way and has an id that begins so. Does not wait."""
        if self._is_running:
            self._loop.call_soon_threadsafe(self._service.abort, rid, abort_all)

    def flush_cache(self, timeout_seconds: float = 0.0) -> bool:
        """Forget every cached prefix. False: something still runs, and nothing was forgotten."""
        return self._wait(self._service.flush(timeout_seconds)).ok

    def get_server_info(self) -> Result:
        """Every setting, and how the engine does."""
        stats = self._wait(self._service.stats())
        return server_info(self._serve, self._config, self._service.client.ready, stats)

    def get_model_info(self) -> Result:
        return model_info(self._serve, self._config)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text, as `generate` would see them."""
        return self._service.tokenizer.encode(text, add_special_tokens)

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str:
        return self._service.tokenizer.decode(tokens, skip_special_tokens)

    def shutdown(self) -> None:
        """Abort what runs and end both threads. A second time does nothing."""
        if self._is_running:
            self._service.close()
            self._engine_thread.join()
            self._end_service()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()

    def _turn(self, channel: EngineChannel, built: "Future[None]") -> None:
        """The engine's thread: build, say so, turn until the front closes."""
        try:
            loop, _ = build_loop(self._config, channel)
        except BaseException as error:
            built.set_exception(error)
            return
        built.set_result(None)
        message = "the engine was shut down"
        try:
            loop.run()
        except Closed:
            pass
        except Exception as error:
            log.exception("the engine died")
            message = f"the engine died: {type(error).__name__}: {error}"
        loop.close()
        with suppress(RuntimeError):  # the event loop may have ended first
            self._loop.call_soon_threadsafe(self._service.client.engine_died, message)

    async def _live(self, alive: "Future[asyncio.AbstractEventLoop]") -> None:
        """The service's thread. What still runs when this returns is cancelled."""
        self._ending = asyncio.Event()
        alive.set_result(asyncio.get_running_loop())
        await self._ending.wait()
        # Whoever still waits for an answer is told that the engine died, before what is left is cancelled.
        others = asyncio.all_tasks() - {asyncio.current_task(), self._receiving}
        if others:
            await asyncio.wait(others, timeout=END_SECONDS)

    async def _connect(self) -> Service:
        service = connect(self._serve, self._front)
        self._receiving = asyncio.create_task(service.client.run())
        await service.client.wait_ready()
        return service

    def _body(self, prompt: Any, sampling_params: Any, body: Result) -> GenerateBody:
        if isinstance(sampling_params, SamplingParams):
            sampling_params = msgspec.to_builtins(sampling_params)
        wanted = {"text": prompt, "sampling_params": sampling_params, **body}
        unknown = [name for name in wanted if name not in GenerateBody.__struct_fields__]
        if unknown:
            raise BadRequest(f"generate has no argument {unknown[0]!r}", unknown[0])
        try:
            return msgspec.convert(wanted, GenerateBody)
        except msgspec.ValidationError as error:
            raise misfit(error) from None

    async def _generate(self, body: GenerateBody) -> Any:
        items, is_many = self._native.items(body, time.monotonic())
        results = await self._native.answers(items)
        return results if is_many else results[0]

    async def _opened(self, body: GenerateBody) -> AsyncGenerator[Result, None]:
        items, is_many = self._native.items(body, time.monotonic())
        return self._native.stream(items, is_many, self._serve.incremental_streaming)

    def _streamed(self, body: GenerateBody) -> Generator[Result, None, None]:
        results = self._wait(self._opened(body))
        try:
            while (result := self._wait(_next(results))) is not None:
                yield result
        finally:
            if self._is_running:
                self._wait(results.aclose())

    async def _async_streamed(self, body: GenerateBody) -> AsyncGenerator[Result, None]:
        results = await asyncio.wrap_future(self._start(self._opened(body)))
        try:
            while (result := await asyncio.wrap_future(self._start(_next(results)))) is not None:
                yield result
        finally:
            if self._is_running:
                await asyncio.wrap_future(self._start(results.aclose()))

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        if not self._is_running:
            coroutine.close()
            raise EngineDead("this engine was shut down")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = self._start(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C here must not leave work behind there
            raise

    def _end_service(self) -> None:
        self._is_running = False
        self._loop.call_soon_threadsafe(self._ending.set)
        self._service_thread.join()


async def _open_channel() -> tuple[LocalFrontChannel, EngineChannel]:
    return local_channel()


async def _next(results: AsyncGenerator[Result, None]) -> Result | None:
    return await anext(results, None)
