"""Executes what a program says, in order, while the program goes on; readers wait for what they read."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Self

from stemma.core.base.errors import StemmaError
from stemma.front.lang import ir
from stemma.front.lang.ahead import Ahead
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.errors import BackendError, ProgramError
from stemma.front.lang.media import encoded_image, encoded_video
from stemma.front.lang.picture import Deed, Track
from stemma.front.lang.place import line_of, program_line
from stemma.front.lang.reasoning import thinking_and_answer
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.schema import Shape
from stemma.front.lang.transcript import Transcript

_SLOW = (ir.Gen, ir.Select, ir.CommitLazy)  # these wait for a backend

ABORT_SECONDS = 0.05  # between two requests to end another

Call = tuple[Callable[[], bool], Callable[[], None]]  # when to make it, and what

log = logging.getLogger("language")


@dataclass(slots=True, eq=False)
class Value:
    """A variable: what it is, or that it will be. Written under its executor's lock."""

    content: object = None
    text: str = ""  # as much as has come
    meta: object = None
    is_done: bool = False
    has_thoughts: bool = False  # they are to be set apart before it is done

    def settle(self, content: object, meta: object = None, text: str | None = None) -> None:
        self.content, self.meta, self.is_done = content, meta, not self.has_thoughts
        self.text = str(content) if text is None else text


@dataclass(frozen=True, slots=True)
class Step:
    node: ir.Node
    value: Value  # what the node will have made
    line: str


@dataclass(slots=True, eq=False, repr=False)
class Executor:
    """One branch of a program. `submit` never waits for a backend; reading does.

    Always: every variable that was submitted is done once the executor is idle, or the executor has failed.
    What waits for a backend is done by a thread of its crew, or by whoever reads before that has come. With
    `uses_thread` False, `submit` waits.
    """

    backend: BaseBackend
    sampling: Sampling
    transcript: Transcript
    is_streaming: bool = False
    uses_thread: bool = True
    ahead: Ahead | None = None
    variables: dict[str, Value] = field(default_factory=dict)
    fork_start: int = field(init=False)
    track: Track = field(default_factory=Track, init=False)
    _scopes: dict[str, tuple[int, Value]] = field(default_factory=dict, init=False)
    _steps: deque[Step] = field(default_factory=deque, init=False)
    _is_busy: bool = field(default=False, init=False)  # steps are executed, or on offer
    _is_offered: bool = field(default=False, init=False)  # to whoever comes first
    _is_called: bool = field(default=False, init=False)  # a thread, which has not come yet
    _is_asking: bool = field(default=False, init=False)  # the backend, for something that takes long
    _error: BaseException | None = field(default=None, init=False)
    _error_line: str = field(default="", init=False)
    _runner: int | None = field(default=None, init=False)  # thread of the program itself, if not the reader's
    _rewritten: tuple[str, int] = field(default=("", 0), init=False)  # what was told; so much of the text it is now
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)
    _calls: list[Call] = field(default_factory=list, init=False)
    _branches: "list[Executor]" = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.fork_start = len(self.transcript.text)

    # The program's side.

    def submit(self, expr: ir.Expr) -> None:
        line = program_line()
        with self._lock:
            if self._error is not None:  # what would follow a failure is not run; whoever reads is told
                return
            is_slow = False
            for node in ir.each(expr):
                self._steps.append(Step(node, self._promise(node), line))
                is_slow |= isinstance(node, _SLOW)
            if self._is_busy:
                return
            self._is_busy = True
        if is_slow and self.uses_thread:
            self._offer()
        else:
            self._work()

    def set_var(self, name: str, content: object) -> None:
        with self._lock:
            self.variables[name] = value = Value()
            value.settle(content)

    def commit(self) -> None:
        """Have what branches will begin with computed, where that would not be done once in any case."""
        if self.backend.commits_forks:
            self.submit(ir.CommitLazy())

    def fork(self, size: int) -> list[Self]:
        """Branches that begin with all there is."""
        self.sync()
        self.raise_failure()
        children = [
            replace(self, transcript=self.transcript.branch(), variables=dict(self.variables), ahead=None)
            for _ in range(size)
        ]
        self._branches += children
        self.track.children += [child.track for child in children]
        return children

    def run_here(self) -> None:
        """The program runs in this thread from now on, and readers elsewhere wait for its end."""
        self._runner = threading.get_ident()

    def end(self, error: BaseException | None = None) -> None:
        """The program has ended; nothing more will be submitted."""
        self.track.joined = perf_counter()
        with self._lock:
            self._runner = None
            self._keep(error)
            self._tell()

    def cancel(self, error: BaseException) -> None:
        """Do nothing more of what was said, here and in all branches. What backends are asked ends before this does."""
        for branch in self._family():
            with branch._lock:
                branch._keep(error)
                branch._steps.clear()
                branch._tell()
        with suppress(BackendError):  # that is gone
            for branch in self._family():
                # A request may not have arrived yet when it is aborted the first time.
                while branch._is_asking and branch.backend.abort(branch.transcript):
                    branch._wait(branch._has_answered, ABORT_SECONDS)

    # The reader's side.

    def sync(self) -> None:
        """Wait until all that was said is done, or has failed."""
        self._take()
        self._wait(partial(self._is_settled, self.is_program()))

    def text(self) -> str:
        self.sync()
        return self.transcript.text

    def messages(self) -> list[dict[str, object]]:
        self.sync()
        return list(self.transcript.messages)

    def error(self) -> BaseException | None:
        self.sync()
        return self._error

    def raise_failure(self) -> None:
        """The same error, if there is one, with the program's line."""
        if self._error is not None:
            raise ProgramError(f"{self._error_line}: {type(self._error).__name__}: {self._error}") from self._error

    def value(self, name: str, timeout_seconds: float | None = None) -> Value:
        """A variable that is done. Raises KeyError when there is none, ProgramError when it will never be."""
        if not self.wait(lambda: name in self.variables, timeout_seconds):
            raise TimeoutError(f"{name!r} was not begun within {timeout_seconds} s")
        value = self.variables.get(name, Value())
        if timeout_seconds is None:
            self._take(lambda: value.is_done)
        if not self.wait(lambda: value.is_done, timeout_seconds):
            raise TimeoutError(f"{name!r} was not there within {timeout_seconds} s")
        if not value.is_done:
            self.raise_failure()
            raise KeyError(name)  # nobody says it, or its scope was not closed
        return value

    def news(self, name: str | None, told: int, of_program: bool) -> tuple[str, object, bool]:
        """The text after so many characters, the meta_info so far, and whether that was all.

        Raises ProgramError when it failed, after what had come was told.
        """
        with self._lock:
            heard = self.heard(name)
            if len(heard.text) <= told and not heard.is_done:
                self.raise_failure()
            is_over = heard.is_done or (self._error is None and self._is_settled(of_program))
            return heard.text[told:], heard.meta, is_over

    def heard(self, name: str | None) -> Value:
        """A variable so far; the whole text, as it was before it was rewritten, as one that is never done."""
        if name is not None:
            return self.variables.get(name) or Value()
        before, size = self._rewritten
        return Value(text=before + self.transcript.text[size:])

    # The worker's side.

    def _promise(self, node: ir.Node) -> Value:
        """What a node will make. If that has a name, readers can wait for it from now on."""
        if isinstance(node, ir.SeparateReasoning) and node.name in self.variables:
            self.variables[node.name].has_thoughts = True
        value = Value()
        if isinstance(node, ir.Making) and node.name is not None:
            self.variables[node.name] = value
        return value

    def _offer(self) -> None:
        """Have a thread execute what is there, unless a reader comes first."""
        with self._lock:
            self._is_offered = True
            if self._is_called:
                return
            self._is_called = True
        try:
            self.backend.crew.start(partial(copy_context().run, self._come))
        except RuntimeError as error:  # no thread to be had
            self._fail(error, program_line())

    def _come(self) -> None:
        with self._lock:
            self._is_called = False
        self._take()

    def _take(self, is_enough: Callable[[], bool] | None = None) -> None:
        """Execute what is on offer. A reader who takes it saves two turns of threads, and leaves when it has enough."""
        with self._lock:
            if not self._is_offered:
                return
            self._is_offered = False
        self._work(is_enough)

    def _work(self, is_enough: Callable[[], bool] | None = None) -> None:
        """Execute until nothing is left."""
        while True:
            with self._lock:
                if not self._steps:
                    self._is_busy = False
                    self._tell()
                    return
                if is_enough is not None and is_enough():
                    break
                step = self._steps.popleft()
            try:
                self._timed(step)
            except Exception as error:
                is_told_whole = isinstance(error, StemmaError)  # what went wrong is in its message
                told = f"{step.line}: {type(error).__name__}: {error}"
                log.warning(told, exc_info=None if is_told_whole else error)
                self._fail(error, step.line)
                return
            except BaseException as error:  # Ctrl-C, in the thread of who reads
                self._fail(error, step.line)
                raise
        self._offer()

    def _fail(self, error: BaseException, line: str) -> None:
        with self._lock:
            self._keep(error, line)
            self._steps.clear()
            self._is_busy = self._is_offered = False
            self._tell()

    def _keep(self, error: BaseException | None, line: str | None = None) -> None:
        """The first error is the one that is told."""
        if error is not None and self._error is None:
            self._error, self._error_line = error, line or line_of(error)

    def _timed(self, step: Step) -> None:
        if not isinstance(step.node, _SLOW):
            self._execute(step)
            return
        with self._lock:
            if self._error is not None:  # it was stopped meanwhile
                return
            self._is_asking = True
        began = perf_counter()
        try:
            self._execute(step)
        finally:
            self._is_asking = False
            self.track.deeds.append(Deed(step.node, step.line, began, perf_counter(), step.value.text, step.value.meta))

    def _execute(self, step: Step) -> None:
        transcript = self.transcript
        match step.node:
            case ir.ConstantText(text=text):
                self._say(text, step.value)
            case ir.Gen() as node:
                self._generate(node, step.value)
            case ir.Select(choices=choices, temperature=temperature, method=method):
                decision = self.backend.select(transcript, choices, temperature, method)
                self._say(decision.decision, step.value, decision.meta_info)
            case ir.CommitLazy():
                if transcript.text:
                    self.backend.commit(transcript)
            case ir.Image(image=image):
                self._say(transcript.see(encoded_image(image)), step.value)
            case ir.Video(path=path, num_frames=num_frames):
                self._say(transcript.see(encoded_video(path, num_frames)), step.value)
            case ir.RoleBegin(role=role):
                transcript.begin(role)
            case ir.RoleEnd(role=role):
                transcript.end(role)
            case ir.VarScopeBegin(name=name):
                self._scopes[name] = (len(transcript.text), step.value)
            case ir.VarScopeEnd(name=name):
                start, value = self._scopes.pop(name)
                with self._lock:
                    value.settle(transcript.text[start:])
                    self._tell()
            case ir.SeparateReasoning(model_type=kind, name=name):
                if name is not None:
                    self._separate(kind, name)
            case other:
                raise TypeError(f"{type(other).__name__} can be traced, but not run")

    def _say(self, text: str, value: Value, meta: object = None) -> None:
        with self._lock:
            self.transcript.text += text
            value.settle(text, meta)
            self._tell()

    def _generate(self, node: ir.Gen, value: Value) -> None:
        transcript = self.transcript
        sampling = self.sampling.overridden(node.options).stopped_by(transcript.template.stop_str)
        text: str | list[str]
        meta: Json | list[Json] = {}
        if self.is_streaming and sampling.n == 1:
            for text, meta in self.backend.generate_stream(transcript, sampling):
                with self._lock:
                    transcript.text += text
                    value.text += text
                    value.meta = meta
                    self._tell()
            text, new = value.text, ""
        else:
            ask = self.backend.generate if self.ahead is None else partial(self.ahead.generate, self.backend)
            text, meta = ask(transcript, sampling)
            new = text if isinstance(text, str) else text[0]
        with self._lock:
            transcript.text += new
            value.settle(_content(node.shape, text, meta), meta, text if isinstance(text, str) else None)
            self._tell()

    def _separate(self, kind: str | None, name: str) -> None:
        """Keep the thoughts of a variable apart from its answer, which alone stays in the text. Streams told both."""
        value = self.variables[name]
        thoughts, answer = thinking_and_answer(value.text, kind)
        with self._lock:
            value.has_thoughts = False
            value.settle(answer, value.meta, value.text if self.is_streaming else None)
            self.set_var(f"{name}_reasoning_content", thoughts)
            told = self.heard(None).text
            self.transcript.rewrite(self.transcript.turn_start, answer)
            self._rewritten = (told, len(self.transcript.text))
            self._tell()

    # Waiting.

    def is_program(self) -> bool:
        """Whether the program itself asks, for which nobody else can say more."""
        return self._runner == threading.get_ident()

    def _is_settled(self, of_program: bool) -> bool:
        """Nothing is being done, and nothing more will be said."""
        return not self._is_busy and (of_program or self._runner is None)

    def _has_answered(self) -> bool:
        return not self._is_asking

    def is_over(self, is_there: Callable[[], bool], of_program: bool) -> bool:
        """It is there, or never will be."""
        return is_there() or self._error is not None or self._is_settled(of_program)

    def wait(self, is_there: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Until it is there, or never will be. False when the time was over first."""
        return self._wait(partial(self.is_over, is_there, self.is_program()), timeout_seconds)

    def _wait(self, is_due: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        with self._lock:
            if is_due():
                return True
            came = threading.Event()
            self._calls.append((is_due, came.set))
        return came.wait(timeout_seconds)

    def call_when(self, is_due: Callable[[], bool], call: Callable[[], None]) -> None:
        """Make a call, in whatever thread."""
        with self._lock:
            self._calls.append((is_due, call))
            self._tell()

    def _tell(self) -> None:
        """Something has changed. The lock is held."""
        waiting, self._calls = self._calls, []
        for is_due, call in waiting:
            if is_due():
                call()
            else:
                self._calls.append((is_due, call))

    def _family(self) -> "Iterator[Executor]":
        yield self
        for branch in self._branches:
            yield from branch._family()


def _content(shape: Shape | None, text: str | list[str], meta: Json | list[Json]) -> object:
    """What a variable is. Raises Unreadable when the text is no value of its type."""
    if shape is None:
        return text
    texts, metas = [text] if isinstance(text, str) else text, [meta] if isinstance(meta, dict) else meta
    values = [shape.value(*answer) for answer in zip(texts, metas, strict=True)]
    return values[0] if isinstance(text, str) else values
