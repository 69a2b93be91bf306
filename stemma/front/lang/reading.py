"""Reads what a program says while it says it: by a thread that waits, or by a task that leaves its thread to others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stemma.front.lang.executor import Executor

_LISTS = ("output_token_logprobs", "output_top_logprobs", "output_token_ids_logprobs")


@dataclass(slots=True, eq=False)
class Reader:
    """What one reader of a program's text, or of a variable, was told. Lists of meta_info tell only what is new."""

    branch: Executor
    name: str | None
    tells_meta: bool
    of_program: bool
    told: int = 0
    is_over: bool = False
    _told_of: dict[str, int] = field(default_factory=dict)

    def has_news(self) -> bool:
        """Unless it streams, all comes last."""
        heard = self.branch.heard(self.name)
        return self.branch.is_streaming and (len(heard.text) > self.told or heard.is_done)

    def parts(self) -> Iterator[Any]:
        """What is new. An end without a text is told only to whom meta_info is, or nothing was."""
        text, meta, self.is_over = self.branch.news(self.name, self.told, self.of_program)
        if text or (self.is_over and (self.tells_meta or not self.told)):
            self.told += len(text)
            yield (text, self._news_of(meta)) if self.tells_meta else text

    def _news_of(self, meta: Any) -> Any:
        lists = {name: meta[name] for name in _LISTS if meta and meta.get(name) is not None}
        news = {name: entries[self._told_of.get(name, 0) :] for name, entries in lists.items()}
        self._told_of |= {name: len(entries) for name, entries in lists.items()}
        return {**(meta or {}), **news}


def read(branch: Executor, name: str | None) -> Iterator[str]:
    """New text as it comes; at once if the run does not stream."""
    reader = Reader(branch, name, False, branch.is_program())
    while not reader.is_over:
        branch.wait(reader.has_news)
        yield from reader.parts()


async def read_along(branch: Executor, name: str | None, tells_meta: bool, of_program: bool) -> AsyncIterator[Any]:
    """The same in an event loop."""
    reader = Reader(branch, name, tells_meta and name is not None, of_program)
    while not reader.is_over:
        await until(branch, reader.has_news, of_program)
        for part in reader.parts():
            yield part


async def until(branch: Executor, is_there: Callable[[], bool], of_program: bool) -> None:
    """Something is there, or never will be."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(event.set)

    branch.call_when(partial(branch.is_over, is_there, of_program), wake)
    await event.wait()
