"""Many runs of a program, over a bounded number of threads."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

A = TypeVar("A")
R = TypeVar("R")

AHEAD = 200  # runs that may be finished before they are read


def in_order(run: Callable[[A], R], batch: Sequence[A], num_threads: int | str, progress_bar: bool) -> Iterator[R]:
    """The result of each, in the order of the batch, as soon as all before it are there. The first error ends it."""
    threads = max(96, 16 * (os.cpu_count() or 1)) if num_threads == "auto" else int(num_threads)
    results = _serial(run, batch) if threads == 1 else _threaded(run, batch, min(threads, len(batch)))
    with Progress(console=Console(stderr=True), disable=not progress_bar) as progress:
        task = progress.add_task("run_batch", total=len(batch))
        for result in results:
            progress.advance(task)
            yield result


def _serial(run: Callable[[A], R], batch: Sequence[A]) -> Iterator[R]:
    yield from map(run, batch)


def _threaded(run: Callable[[A], R], batch: Sequence[A], threads: int) -> Iterator[R]:
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
        pool.shutdown(cancel_futures=True)
