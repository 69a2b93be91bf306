"""Many runs of a program, a bounded number of them at once."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

A = TypeVar("A")
R = TypeVar("R")

AHEAD = 200  # runs that may be finished before they are read


def in_order(
    run: Callable[[A], R], batch: Sequence[A], num_threads: int | str, progress_bar: bool, end: Callable[[], None]
) -> Iterator[R]:
    """The result of each, in the order of the batch, as soon as all before it are there. The first error ends it.

    `end` ends those that run, when nobody wants more.
    """
    threads = min(_most(num_threads), len(batch))
    results = _threaded(run, batch, threads, end) if threads > 1 else map(run, batch)
    with _progress(len(batch), progress_bar) as advance:
        for result in results:
            advance()
            yield result


async def at_once(
    run: Callable[[A], Awaitable[R]], batch: Sequence[A], num_threads: int | str, progress_bar: bool
) -> AsyncIterator[R]:
    """The same of what is awaited: so many run at once, in one thread."""
    most = _most(num_threads)
    places = asyncio.Semaphore(most)

    async def placed(arguments: A) -> R:
        async with places:
            return await run(arguments)

    waiting: deque[asyncio.Task[R]] = deque()
    try:
        with _progress(len(batch), progress_bar) as advance:
            for at, arguments in enumerate(batch, 1):
                waiting.append(asyncio.create_task(placed(arguments)))
                while waiting and (at == len(batch) or len(waiting) >= max(AHEAD, most)):
                    result = await waiting[0]
                    waiting.popleft()
                    advance()
                    yield result
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _most(num_threads: int | str) -> int:
    return max(96, 16 * (os.cpu_count() or 1)) if num_threads == "auto" else int(num_threads)


@contextmanager
def _progress(total: int, is_shown: bool) -> Iterator[Callable[[], None]]:
    with Progress(console=Console(stderr=True), disable=not is_shown) as progress:
        yield partial(progress.advance, progress.add_task("run_batch", total=total))


def _threaded(run: Callable[[A], R], batch: Sequence[A], threads: int, end: Callable[[], None]) -> Iterator[R]:
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[R]] = deque()
    try:
        for arguments in batch:
            waiting.append(pool.submit(run, arguments))
            if len(waiting) >= max(AHEAD, threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        end()
        pool.shutdown()
