"""`@function` of an `async def`: programs that share one thread while they wait for their models."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, overload

from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.batch import at_once
from stemma.front.lang.errors import BackendError, Misuse
from stemma.front.lang.executor import Executor
from stemma.front.lang.program import (
    MIN_PREFIX_CHARACTERS,
    Arguments,
    Program,
    backend_of,
    only_sampling,
    shares_prefix,
)
from stemma.front.lang.reading import read_along, until
from stemma.front.lang.sampling import Sampling, split
from stemma.front.lang.state import Branches, JoinMode, ProgramState, ProgramStateGroup, Speaker
from stemma.front.lang.trace import Recorder, TracedState, traced_on, tracing


class AsyncState(Speaker):
    """`s` of an asynchronous program, or what its caller reads while it runs. What reads is awaited."""

    def __init__(self, branch: Executor | Recorder, task: "asyncio.Task[None] | None" = None):
        super().__init__(branch)
        self._branch = branch
        self._task = task  # of the program; None where the program itself reads
        self._settled = ProgramState(branch)  # whose reads do not wait, after ours

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

    def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """As of other states: any number of readers share the thread."""
        return read_along(self._branch, var_name, return_meta_data, self._task is None)

    async def fork(self, size: int = 1) -> "AsyncGroup":
        """As in other programs, awaited."""
        if size < 1:
            raise Misuse(f"a fork has at least one branch, not {size}")
        self._branch.commit(size)
        await self._until()
        return AsyncGroup([AsyncState(branch) for branch in self._branch.branches(size)], self)

    async def cancel(self) -> None:
        """End a program that streams, and what its backend is asked for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def __getitem__(self, name: str) -> Coroutine[Any, Any, Any]:
        return self.get_var(name)

    async def _until(self, name: str | None = None) -> None:
        """A variable is there, or never will be; without a name, all that was said is done."""
        await until(self._branch, partial(self._branch.has, name), self._task is None)


class AsyncGroup(Branches[AsyncState]):
    """The branches of an asynchronous program's fork."""

    async def join(self, mode: JoinMode = "gather_variable") -> None:
        """As in other programs, awaited."""
        for branch in self.states:
            await branch.sync()
        settled = [ProgramState(branch.stream_executor) for branch in self.states]
        ProgramStateGroup(settled, ProgramState(self.parent.stream_executor)).join(mode)


class AsyncFunction(Program):
    """An asynchronous program. Everything that runs it is awaited; one that is cancelled ends its requests first."""

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

    def run_batch(
        self,
        batch_kwargs: Sequence[Arguments],
        *,
        backend: object = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
        generator_style: bool = False,
        **sampling: Any,
    ) -> Any:
        """Run once for each set of arguments, so many at once: a list to be awaited, or an asynchronous generator."""
        batch = [self.named(arguments) for arguments in batch_kwargs]
        states = self._batch(batch, backend_of(backend), only_sampling(sampling), num_threads, progress_bar)
        return states if generator_style else _listed(states)

    async def trace(self, *, backend: object = None, **kwargs: Any) -> TracedState:
        """What the program says, as nodes. It may await `s` and other programs."""
        return await self._trace(backend_of(backend), kwargs)

    async def cache(self, backend: object = None) -> None:
        """Compute the text that every run begins with."""
        place = backend_of(backend)
        if prefix := await self._prefix(place):
            await asyncio.to_thread(place.cache_prefix, prefix)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (backend := traced_on()) is not None:
            return await self._trace(backend, {**self.named(args), **kwargs})
        return await self.run(*args, **kwargs)

    async def _to_its_end(self, executor: Executor, args: Sequence[Any], arguments: Mapping[str, Any]) -> ProgramState:
        s, state = AsyncState(executor), ProgramState(executor)
        try:
            state.ret_value = await self.called(s, args, arguments)
            await s.sync()
        except BaseException as error:  # nobody will have the state
            executor.stop(error)
            with suppress(BackendError):  # that is gone
                await asyncio.shield(asyncio.to_thread(executor.abort))
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
        self,
        batch: Sequence[Mapping[str, Any]],
        backend: BaseBackend,
        sampling: Sampling,
        num_threads: int | str,
        progress_bar: bool,
    ) -> AsyncIterator[ProgramState]:
        if shares_prefix(batch) and len(prefix := await self._prefix(backend)) > MIN_PREFIX_CHARACTERS:
            await asyncio.to_thread(backend.cache_prefix, prefix)

        async def one(arguments: Mapping[str, Any]) -> ProgramState:
            return await self._to_its_end(self.executor(backend, sampling, False), (), arguments)

        async for state in at_once(one, batch, num_threads, progress_bar):
            yield state

    async def _trace(self, backend: BaseBackend, given: Mapping[str, Any]) -> TracedState:
        recorder = Recorder(backend.get_chat_template(), stops_at_fork=False)
        state = TracedState(recorder)
        with tracing(backend):
            state.ret_value = await self.traced(AsyncState(recorder), given)
        return state

    async def _prefix(self, backend: BaseBackend) -> str:
        with self.glance(backend) as recorder:
            await self.traced(AsyncState(recorder), {})
        return recorder.prefix()


async def _listed(states: AsyncIterator[ProgramState]) -> list[ProgramState]:
    return [state async for state in states]
