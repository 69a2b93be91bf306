"""`@function` of an `async def`: programs that share one thread while they wait for their models."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from stemma.front.lang.errors import Misuse
from stemma.front.lang.executor import Executor
from stemma.front.lang.program import backend_of
from stemma.front.lang.sampling import split
from stemma.front.lang.state import Branches, JoinMode, ProgramState, ProgramStateGroup, Speaker
from stemma.front.lang.transcript import Transcript


class AsyncState(Speaker):
    """`s` of an asynchronous program. Writing is as in others; what reads is awaited."""

    def __init__(self, executor: Executor):
        super().__init__(executor)
        self._executor = executor
        self._settled = ProgramState(executor)  # whose reads do not wait, after ours

    async def get_var(self, name: str) -> Any:
        await self._until(name)
        return self._settled[name]

    async def get_meta_info(self, name: str) -> Any:
        await self._until(name)
        return self._settled.get_meta_info(name)

    async def text(self) -> str:
        await self._until()
        return self._settled.text()

    async def messages(self) -> list[dict[str, object]]:
        await self._until()
        return self._settled.messages()

    async def sync(self) -> None:
        await self._until()

    async def error(self) -> BaseException | None:
        await self._until()
        return self._settled.error()

    async def fork(self, size: int = 1) -> "AsyncGroup":
        """As in other programs, awaited."""
        if size < 1:
            raise Misuse(f"a fork has at least one branch, not {size}")
        self._executor.commit(size)
        await self._until()
        return AsyncGroup([AsyncState(branch) for branch in self._executor.branches(size)], self)

    def __getitem__(self, name: str) -> Coroutine[Any, Any, Any]:
        return self.get_var(name)

    async def _until(self, name: str | None = None) -> None:
        """A variable is there, or never will be; without a name, all that was said is done."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(event.set)

        self._executor.call_when(name, wake)
        await event.wait()


class AsyncGroup(Branches[AsyncState]):
    """The branches of an asynchronous program's fork."""

    async def join(self, mode: JoinMode = "gather_variable") -> None:
        """As in other programs, awaited."""
        for branch in self.states:
            await branch.sync()
        settled = [ProgramState(branch.stream_executor) for branch in self.states]
        ProgramStateGroup(settled, ProgramState(self.parent.stream_executor)).join(mode)


class AsyncFunction:
    """An asynchronous program. `await program.run(...)` is the state of one that has ended."""

    def __init__(self, func: Callable[..., Coroutine[Any, Any, Any]]):
        if [*inspect.signature(func).parameters][:1] != ["s"]:
            raise Misuse(f"the first parameter of {func.__name__} must be named s")
        self.func = func
        functools.update_wrapper(self, func)

    async def run(self, *args: Any, backend: object = None, **kwargs: Any) -> ProgramState:
        """Run once, with the sampling of every `gen` that does not say otherwise.

        What the program itself raises is raised here; what has failed at the backend, where it is read.
        """
        place = backend_of(backend)
        sampling, arguments = split(kwargs)
        executor = Executor(place, sampling, Transcript(place.get_chat_template()))
        s, state = AsyncState(executor), ProgramState(executor)
        state.ret_value = await self.func(s, *args, **arguments)
        await s.sync()
        return state

    __call__ = run
