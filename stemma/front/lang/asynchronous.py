"""`@function` of an `async def`: programs that share one thread while they wait for their models."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Literal, overload

from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.batch import at_once
from stemma.front.lang.executor import Executor
from stemma.front.lang.program import Batch, Program, backend_of
from stemma.front.lang.reading import read_along, until
from stemma.front.lang.sampling import Sampling, split
from stemma.front.lang.state import Branches, JoinMode, ProgramState, ProgramStateGroup, Speaker


class AsyncState(Speaker):
    """`s` of an asynchronous program, or what its caller reads while it runs. What reads is awaited."""

    def __init__(self, branch: Executor, task: "asyncio.Task[None] | None" = None):
        super().__init__(branch)
        self._task = task  # of the program; None where the program itself reads

    async def get_var(self, name: str) -> Any:
        return (await self._settled(name))[name]

    async def get_meta_info(self, name: str) -> Any:
        return (await self._settled(name)).get_meta_info(name)

    async def text(self) -> str:
        return (await self._settled()).text()

    async def messages(self) -> list[dict[str, object]]:
        return (await self._settled()).messages()

    async def sync(self) -> None:
        await self._settled()

    async def error(self) -> BaseException | None:
        return (await self._settled()).error()

    def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """As of other states: any number of readers share the thread."""
        return read_along(self.stream_executor, var_name, return_meta_data, self._task is None)

    async def fork(self, size: int = 1) -> "AsyncGroup":
        """As in other programs, awaited."""
        self._commit(size)
        await self.sync()
        return AsyncGroup([AsyncState(branch) for branch in self.stream_executor.fork(size)], self)

    async def cancel(self) -> None:
        """End a program that streams, and what its backend is asked for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def __getitem__(self, name: str) -> Coroutine[Any, Any, Any]:
        return self.get_var(name)

    async def _settled(self, name: str | None = None) -> ProgramState:
        """What reads without waiting, once a variable is there, or never will be; without a name, once all is done."""
        executor = self.stream_executor
        await until(executor, lambda: executor.heard(name).is_done, self._task is None)
        return ProgramState(executor)


class AsyncGroup(Branches[AsyncState]):
    """The branches of an asynchronous program's fork."""

    async def join(self, mode: JoinMode = "gather_variable") -> None:
        """As in other programs, awaited."""
        settled = [await branch._settled() for branch in self.states]
        ProgramStateGroup(settled, ProgramState(self.parent.stream_executor)).join(mode)


class AsyncFunction(Program):
    """An asynchronous program. Everything that runs it is awaited; one that is cancelled ends its requests first."""

    _state = AsyncState

    @overload
    async def run(self, *args: Any, stream: Literal[True], backend: object = None, **kwargs: Any) -> AsyncState: ...

    @overload
    async def run(
        self, *args: Any, stream: Literal[False] = False, backend: object = None, **kwargs: Any
    ) -> ProgramState: ...

    async def run(
        self, *args: Any, stream: bool = False, backend: object = None, **kwargs: Any
    ) -> AsyncState | ProgramState:
        """Run once, with the sampling of every `gen` that does not say otherwise: the state of what has ended.

        What the program itself raises is raised here; what has failed at the backend, where it is read. With
        `stream`, the state of one that has begun: it is read while it runs, and all that fails is told there.
        """
        sampling, arguments = split(kwargs)
        executor = self.executor(backend_of(backend), sampling, stream)
        if not stream:
            return await self._to_its_end(executor, args, arguments)
        executor.run_here()
        return AsyncState(executor, asyncio.create_task(self._aside(executor, args, arguments)))

    async def _to_its_end(self, executor: Executor, args: Sequence[Any], arguments: Mapping[str, Any]) -> ProgramState:
        s, state = AsyncState(executor), ProgramState(executor)
        try:
            state.ret_value = await self.called(s, args, arguments)
            await s.sync()
        except BaseException as error:  # nobody will have the state
            await asyncio.shield(asyncio.to_thread(executor.cancel, error))
            raise
        return state

    async def _aside(self, executor: Executor, args: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        try:
            await self._to_its_end(executor, args, arguments)
        except BaseException as error:  # told to whoever reads
            executor.end(error)
        else:
            executor.end()

    async def _batch(
        self, batch: Batch, backend: BaseBackend, sampling: Sampling, num_threads: int | str, progress_bar: bool
    ) -> AsyncIterator[ProgramState]:
        await self._shared(batch, backend)

        async def one(arguments: Mapping[str, Any]) -> ProgramState:
            return await self._to_its_end(self.executor(backend, sampling, False), (), arguments)

        async for state in at_once(one, batch, num_threads, progress_bar):
            yield state

    async def _listed(self, states: AsyncIterator[ProgramState]) -> list[ProgramState]:
        return [state async for state in states]

    def _given(self, result: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """What is awaited."""
        return result

    async def _computed(self, backend: BaseBackend, prefix: str) -> None:
        await asyncio.to_thread(backend.cache_prefix, prefix)
