"""`@function`: a Python function that is a program."""

import inspect
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextvars import copy_context
from functools import partial, update_wrapper
from typing import Any, Self, cast

from stemma.core.base.errors import Bug
from stemma.front.lang.ahead import Ahead
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.backends.engine import EngineLike, engine_backend
from stemma.front.lang.batch import in_order
from stemma.front.lang.errors import Misuse
from stemma.front.lang.executor import Executor
from stemma.front.lang.ir import Argument
from stemma.front.lang.sampling import Sampling, split
from stemma.front.lang.settings import global_config
from stemma.front.lang.state import ProgramState, Speaker, TracedState
from stemma.front.lang.trace import Glance, Recorder, traced_on, tracing
from stemma.front.lang.transcript import Transcript

Arguments = Mapping[str, Any] | Sequence[Any]  # of one run: by name, or in their order
Batch = Sequence[Mapping[str, Any]]
MIN_PREFIX_CHARACTERS = 64  # what has no more is not worth a request of its own

log = logging.getLogger("language")


class Program:
    """A function whose first parameter is `s`. Bound arguments go before those that a caller gives.

    Its forms say how it runs. What they give of an asynchronous program is awaited.
    """

    run: Callable[..., Any]
    _state: Callable[[Executor], Speaker]  # `s`
    _batch: Callable[[Batch, BaseBackend, Sampling, int | str, bool], Any]
    _listed: Callable[[Any], Any]
    _given: Callable[[Coroutine[Any, Any, Any]], Any]  # what a caller gets of what is written once for both forms
    _computed: Callable[[BaseBackend, str], Coroutine[Any, Any, None]]  # a prefix, before anything runs

    def __init__(
        self,
        func: Callable[..., Any],
        num_api_spec_tokens: int | None = None,
        bound: Mapping[str, object] | None = None,
    ):
        spec = inspect.getfullargspec(func)
        if not spec.args or spec.args[0] != "s":
            raise Misuse(f"the first parameter of {func.__name__} must be named s")
        self.func = func
        self.num_api_spec_tokens = num_api_spec_tokens
        self.bind_arguments = dict(bound or {})
        self.arg_names = spec.args[1:]
        self.arg_defaults = spec.defaults or ()
        update_wrapper(cast(Callable[..., Any], self), func)

    def bind(self, **arguments: Any) -> Self:
        """The same program with some arguments settled, whatever a caller gives."""
        for name in arguments:
            if name not in self.arg_names:
                raise Misuse(f"{self.func.__name__} has no argument {name!r}; it has {', '.join(self.arg_names)}")
        return type(self)(self.func, self.num_api_spec_tokens, {**self.bind_arguments, **arguments})

    def named(self, arguments: Arguments) -> Mapping[str, Any]:
        """One run's arguments by name. Raises Misuse when there are too few or too many."""
        if isinstance(arguments, Mapping):
            return arguments
        least = len(self.arg_names) - len(self.arg_defaults)
        if not least <= len(arguments) <= len(self.arg_names):
            raise Misuse(f"{self.func.__name__} takes {least} to {len(self.arg_names)} arguments, not {len(arguments)}")
        return dict(zip(self.arg_names, arguments, strict=False))

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
        """Run once for each set of arguments: the states in their order, or a generator of them.

        The text that all begin with is computed once, first.
        """
        batch = [self.named(arguments) for arguments in batch_kwargs]
        defaults, unknown = split(sampling)
        if unknown:
            raise TypeError(f"run_batch has no argument {next(iter(unknown))!r}")
        states = self._batch(batch, backend_of(backend), defaults, num_threads, progress_bar)
        return states if generator_style else self._listed(states)

    def trace(self, *, backend: object = None, **kwargs: Any) -> Any:
        """What the program says, as nodes: a TracedState, with `last_node.print_graph_dfs()`."""
        return self._given(self._traced(backend_of(backend), kwargs))

    def cache(self, backend: object = None) -> Any:
        """Compute the text that every run begins with."""
        return self._given(self._cached(backend_of(backend)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (backend := traced_on.get()) is not None:
            return self._given(self._traced(backend, {**self.named(args), **kwargs}))
        return self.run(*args, **kwargs)

    def called(self, state: Speaker, args: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
        """What the function returns: of an asynchronous one, what is to be awaited."""
        return self.func(state, *args, **{**arguments, **self.bind_arguments})

    async def _traced(self, backend: BaseBackend, given: Mapping[str, Any]) -> TracedState:
        state = TracedState(Recorder(backend, Sampling(), Transcript(backend.get_chat_template())))
        state.ret_value = await self._recorded(state.stream_executor, given)
        return state

    async def _cached(self, backend: BaseBackend, characters: int = 0) -> None:
        """Compute the text that every run begins with, if it has more than so many."""
        glance = Glance(backend, Sampling(), Transcript(backend.get_chat_template()))
        try:
            await self._recorded(glance, {})
        except Exception as error:  # a program may do with its arguments what a trace cannot: what came before counts
            log.debug("%s was traced up to %r", self.func.__name__, error)
        if len(prefix := glance.transcript.text) > characters:
            await self._computed(backend, prefix)

    async def _shared(self, batch: Batch, backend: BaseBackend) -> None:
        if len(batch) > 1 and global_config.enable_precache_with_tracing:
            await self._cached(backend, MIN_PREFIX_CHARACTERS)

    async def _recorded(self, executor: Executor, given: Mapping[str, Any]) -> Any:
        """What the function returns where nobody is asked; what was not given is an Argument."""
        arguments = {**{name: Argument(name) for name in self.arg_names}, **given}
        with tracing(executor.backend):
            returned = self.called(self._state(executor), (), arguments)
            return await returned if inspect.isawaitable(returned) else returned

    def executor(self, backend: BaseBackend, sampling: Sampling, stream: bool, use_thread: bool = True) -> Executor:
        if stream and self.num_api_spec_tokens is not None:
            raise Misuse("num_api_spec_tokens cannot be streamed: what is generated ahead may yet be dropped")
        ahead = None if self.num_api_spec_tokens is None else Ahead(self.num_api_spec_tokens)
        transcript = Transcript(backend.get_chat_template())
        return Executor(backend, sampling, transcript, is_streaming=stream, uses_thread=use_thread, ahead=ahead)


class SglFunction(Program):
    """A program. `run` and `run_batch` take the sampling of every `gen` that does not say otherwise."""

    _state = ProgramState

    def run(
        self, *args: Any, stream: bool = False, backend: object = None, use_thread: bool = True, **kwargs: Any
    ) -> ProgramState:
        """Run once. What the program itself raises is raised here; with `stream`, where its text is read."""
        sampling, arguments = split(kwargs)
        executor = self.executor(backend_of(backend), sampling, stream, use_thread)
        state = ProgramState(executor)
        program = partial(self._run, executor, state, args, arguments)
        if stream:
            _begin(executor, program)
        else:
            program()
        return state

    def _run(self, executor: Executor, state: ProgramState, args: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        try:
            state.ret_value = self.called(state, args, arguments)
        except BaseException as error:  # what its branches still ask for, nobody will read
            executor.cancel(error)
            raise
        if global_config.verbosity >= 2:
            sys.stdout.write(state.text() + "\n")

    def _batch(
        self, batch: Batch, backend: BaseBackend, sampling: Sampling, num_threads: int | str, progress_bar: bool
    ) -> Iterator[ProgramState]:
        self._given(self._shared(batch, backend))
        running: list[Executor] = []

        def one(arguments: Mapping[str, Any]) -> ProgramState:
            executor = self.executor(backend, sampling, stream=False)
            running.append(executor)
            try:
                state = ProgramState(executor)
                self._run(executor, state, (), arguments)
                state.sync()
                return state
            finally:
                running.remove(executor)

        def end() -> None:
            for executor in list(running):
                executor.cancel(CancelledError("the batch was left"))

        return in_order(one, batch, num_threads, progress_bar, end)

    def _listed(self, states: Iterator[ProgramState]) -> list[ProgramState]:
        return list(states)

    def _given(self, result: Coroutine[Any, Any, Any]) -> Any:
        """The result itself: what it waits for is done in this thread."""
        try:
            result.send(None)
        except StopIteration as end:
            return end.value
        raise Bug("a program that is not asynchronous was waited for")

    async def _computed(self, backend: BaseBackend, prefix: str) -> None:
        backend.cache_prefix(prefix)


def _begin(executor: Executor, program: Callable[[], None]) -> None:
    """Run it in a thread of its own; what it raises is told to whoever reads."""
    begun = threading.Event()

    def aside() -> None:
        executor.run_here()
        begun.set()
        try:
            program()
        except BaseException as error:
            executor.end(error)
        else:
            executor.end()

    threading.Thread(target=copy_context().run, args=(aside,), daemon=True).start()
    begun.wait()  # from now on readers know that there is more to come


def backend_of(given: object) -> BaseBackend:
    """The backend that was given, or the default one; what has an `.endpoint` stands for that."""
    found = global_config.default_backend if given is None else given
    found = getattr(found, "endpoint", found)
    if isinstance(found, BaseBackend):
        return found
    if isinstance(found, EngineLike):
        return engine_backend(found)
    if found is None:
        raise Misuse("specify a backend: run(..., backend=...) or set_default_backend(...)")
    raise Misuse(f"{found!r} is no backend; give an Engine, Runtime, RuntimeEndpoint or OpenAI")
