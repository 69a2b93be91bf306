"""Executes what a program says, in order, while the program goes on; readers wait for what they read."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.errors import ProgramError
from stemma.front.lang.ir import (
    CommitLazy,
    ConstantText,
    Gen,
    Image,
    Node,
    RoleBegin,
    RoleEnd,
    Select,
    SeparateReasoning,
    VarScopeBegin,
    VarScopeEnd,
    Video,
    each,
)
from stemma.front.lang.media import encoded_image, encoded_video
from stemma.front.lang.picture import Deed, Track
from stemma.front.lang.place import program_line
from stemma.front.lang.reasoning import thinking_and_answer
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.schema import Shape
from stemma.front.lang.transcript import Transcript

_SLOW = (Gen, Select, CommitLazy)  # these wait for a backend

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
    node: Node
    value: Value | None  # what the node will have made
    line: str


class Executor:
    """One branch of a program. `submit` never waits for a backend; reading does.

    Always: every variable that was submitted is done once the executor is idle, or the executor has failed.
    A thread is taken only while there is a backend to wait for. With `uses_thread` False, `submit` waits.
    """

    def __init__(
        self,
        backend: BaseBackend,
        sampling: Sampling,
        transcript: Transcript,
        *,
        is_streaming: bool = False,
        uses_thread: bool = True,
        variables: dict[str, Value] | None = None,
    ):
        self.backend = backend
        self.sampling = sampling
        self.is_streaming = is_streaming
        self.fork_start = len(transcript.text)
        self.track = Track()
        self._transcript = transcript
        self._uses_thread = uses_thread
        self._variables = variables or {}
        self._scopes: dict[str, tuple[int, Value]] = {}
        self._steps: deque[Step] = deque()
        self._is_busy = False
        self._error: BaseException | None = None
        self._error_line = ""
        self._runner: int | None = None  # thread in which the program itself runs, if not the reader's
        self._changed = threading.Condition(threading.RLock())
        self._calls: list[tuple[Callable[[], bool], Callable[[], None]]] = []  # to be made when something is there

    # The program's side.

    def submit(self, expr: Node | str) -> None:
        line = program_line()
        with self._changed:
            if self._error is not None:  # what would follow a failure is not run; whoever reads is told
                return
            is_slow = False
            for node in each(expr):
                self._steps.append(Step(node, self._promise(node), line))
                is_slow |= isinstance(node, _SLOW)
            if self._is_busy:
                return
            self._is_busy = True
        if is_slow and self._uses_thread:
            self._start()
        else:
            self._work()

    def set_var(self, name: str, content: object) -> None:
        with self._changed:
            self._variables[name] = value = Value()
            value.settle(content)

    def fork(self, size: int) -> "list[Executor]":
        """Branches that begin with all there is."""
        self.commit(size)
        return self.branches(size)

    def commit(self, size: int) -> None:
        """Have what so many branches will begin with computed, where that would not be done once in any case."""
        if size > 1 and self.backend.commits_forks:
            self.submit(CommitLazy())

    def branches(self, size: int) -> "list[Executor]":
        """The same, of a text that need not be computed first."""
        self.sync()
        self._raise_failure()
        children = [
            Executor(
                self.backend,
                self.sampling,
                self._transcript.branch(),
                is_streaming=self.is_streaming,
                uses_thread=self._uses_thread,
                variables=dict(self._variables),
            )
            for _ in range(size)
        ]
        self.track.children += [child.track for child in children]
        return children

    def run_here(self) -> None:
        """The program runs in this thread from now on, and readers elsewhere wait for its end."""
        self._runner = threading.get_ident()

    def end(self, error: BaseException | None = None) -> None:
        """The program has ended; nothing more will be submitted."""
        self.track.joined = perf_counter()
        with self._changed:
            self._runner = None
            if error is not None and self._error is None:
                self._error, self._error_line = error, "the program"
            self._tell()

    # The reader's side.

    def sync(self) -> None:
        """Wait until all that was said is done, or has failed."""
        with self._changed:
            self._changed.wait_for(self._is_settled)

    def text(self) -> str:
        self.sync()
        return self._transcript.text

    def messages(self) -> list[dict[str, object]]:
        self.sync()
        return list(self._transcript.messages)

    def error(self) -> BaseException | None:
        self.sync()
        return self._error

    def failure(self) -> ProgramError:
        """The same error with the program's line, to be raised where something is read."""
        return ProgramError(f"{self._error_line}: {type(self._error).__name__}: {self._error}")

    def names(self) -> list[str]:
        return list(self._variables)

    def value(self, name: str, timeout_seconds: float | None = None) -> Value:
        """A variable that is done. Raises KeyError when there is none, ProgramError when it will never be."""
        if not self._wait(lambda: name in self._variables, timeout_seconds):
            raise TimeoutError(f"{name!r} was not begun within {timeout_seconds} s")
        value = self._variables.get(name)
        if value is None:
            self._raise_failure()
            raise KeyError(name)
        if not self._wait(lambda: value.is_done, timeout_seconds):
            raise TimeoutError(f"{name!r} was not there within {timeout_seconds} s")
        if not value.is_done:
            self._raise_failure()
            raise KeyError(name)  # its scope was not closed
        return value

    def call_when(self, name: str | None, call: Callable[[], None]) -> None:
        """Call it, in whatever thread, once a variable is done, or never will be; without a name, once all is done."""

        def is_there() -> bool:
            return name is not None and name in self._variables and self._variables[name].is_done

        with self._changed:
            self._calls.append((is_there, call))
            self._tell()

    def grow(self, name: str | None) -> Iterator[tuple[str, object]]:
        """New text of the program, or of one variable, with the meta_info so far, until its end.

        A program that does not stream yields all at once. Raises ProgramError when it fails, after what had come.
        """
        if not self.is_streaming:
            self.sync()
        if name is not None:
            self._wait(lambda: name in self._variables)
        value = None if name is None else self._variables.get(name)
        if value is None and name is not None:
            self._raise_failure()
            yield "", None
            return
        told, is_over = 0, False
        while not is_over:
            with self._changed:
                self._wait(partial(self._has_news, value, told))
                text = self._transcript.text if value is None else value.text
                meta = None if value is None else value.meta
                is_done = value is not None and value.is_done
                is_over = is_done or self._error is not None or self._is_settled()
            if len(text) > told or is_over:
                yield text[told:], meta
                told = len(text)
        if not is_done:
            self._raise_failure()

    # The worker's side.

    def _promise(self, node: Node) -> Value | None:
        """The variable that a node will make; readers can wait for it from now on."""
        if isinstance(node, SeparateReasoning) and node.name in self._variables and not self.is_streaming:
            self._variables[node.name].has_thoughts = True
        if not isinstance(node, Gen | Select | VarScopeBegin) or node.name is None:
            return None
        value = self._variables[node.name] = Value()
        return value

    def _start(self) -> None:
        try:
            self.backend.crew.start(partial(copy_context().run, self._work))
        except RuntimeError as error:  # no thread to be had
            self._fail(error, program_line())

    def _work(self) -> None:
        """Execute until nothing is left."""
        while True:
            with self._changed:
                if not self._steps:
                    self._is_busy = False
                    self._tell()
                    return
                step = self._steps.popleft()
            try:
                self._timed(step)
            except Exception as error:
                self._fail(error, step.line)
                return
            except BaseException as error:  # Ctrl-C in the program's own thread
                self._fail(error, step.line)
                raise

    def _fail(self, error: BaseException, line: str) -> None:
        log.warning("%s: %s: %s", line, type(error).__name__, error, exc_info=error)
        with self._changed:
            self._error, self._error_line = error, line
            self._steps.clear()
            self._is_busy = False
            self._tell()

    def _timed(self, step: Step) -> None:
        if not isinstance(step.node, _SLOW):
            self._execute(step)
            return
        began, value = perf_counter(), step.value or Value()
        try:
            self._execute(step)
        finally:
            self.track.deeds.append(Deed(step.node, step.line, began, perf_counter(), value.text, value.meta))

    def _execute(self, step: Step) -> None:
        transcript = self._transcript
        match step.node:
            case ConstantText(text=text):
                self._say(text)
            case Gen() as node:
                self._generate(node, step.value or Value())
            case Select(choices=choices, temperature=temperature, method=method):
                decision = self.backend.select(transcript, choices, temperature, method)
                self._say(decision.decision, step.value, decision.meta_info)
            case CommitLazy():
                if transcript.text:
                    self.backend.commit(transcript)
            case Image(image=image):
                self._say(transcript.see(encoded_image(image)))
            case Video(path=path, num_frames=num_frames):
                self._say(transcript.see(encoded_video(path, num_frames)))
            case RoleBegin(role=role):
                transcript.begin(role)
            case RoleEnd(role=role):
                transcript.end(role)
            case VarScopeBegin(name=name):
                self._scopes[name] = (len(transcript.text), step.value or Value())
            case VarScopeEnd(name=name):
                start, value = self._scopes.pop(name)
                with self._changed:
                    value.settle(transcript.text[start:])
                    self._tell()
            case SeparateReasoning(model_type=kind, name=name):
                if name is not None and not self.is_streaming:
                    self._separate(kind, name)
            case other:
                raise TypeError(f"{type(other).__name__} can be traced, but not run")

    def _say(self, text: str, value: Value | None = None, meta: object = None) -> None:
        with self._changed:
            self._transcript.text += text
            if value is not None:
                value.settle(text, meta)
            self._tell()

    def _generate(self, node: Gen, value: Value) -> None:
        transcript = self._transcript
        sampling = self.sampling.overridden(node.options).stopped_by(transcript.template.stop_str)
        text: str | list[str]
        meta: Json | list[Json] = {}
        if self.is_streaming and sampling.n == 1:
            for text, meta in self.backend.generate_stream(transcript, sampling):
                with self._changed:
                    transcript.text += text
                    value.text += text
                    value.meta = meta
                    self._tell()
            text, new = value.text, ""
        else:
            text, meta = self.backend.generate(transcript, sampling)
            new = text if isinstance(text, str) else text[0]
        with self._changed:
            transcript.text += new
            value.settle(_content(node.shape, text, meta), meta, text if isinstance(text, str) else None)
            self._tell()

    def _separate(self, kind: str | None, name: str) -> None:
        """Keep the thoughts of a variable apart from its answer, which alone stays in the text."""
        value = self._variables[name]
        thoughts, answer = thinking_and_answer(value.text, kind)
        with self._changed:
            value.has_thoughts = False
            value.settle(answer, value.meta)
            self.set_var(f"{name}_reasoning_content", thoughts)
            self._transcript.rewrite(self._transcript.turn_start, answer)
            self._tell()

    # Waiting.

    def _is_settled(self) -> bool:
        """Nothing is being done, and nothing more can be said while this thread, the reader, waits."""
        return not self._is_busy and self._runner in (None, threading.get_ident())

    def _wait(self, is_there: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Until it is there, or never will be. False when the time was over first."""
        with self._changed:
            return self._changed.wait_for(partial(self._is_over, is_there), timeout_seconds)

    def _is_over(self, is_there: Callable[[], bool]) -> bool:
        return is_there() or self._error is not None or self._is_settled()

    def _tell(self) -> None:
        """Something has changed. The lock is held."""
        self._changed.notify_all()
        waiting, self._calls = self._calls, []
        for is_there, call in waiting:
            if self._is_over(is_there):
                call()
            else:
                self._calls.append((is_there, call))

    def _has_news(self, value: Value | None, told: int) -> bool:
        text = self._transcript.text if value is None else value.text
        return len(text) > told or (value is not None and value.is_done)

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self.failure() from self._error


def _content(shape: Shape | None, text: str | list[str], meta: Json | list[Json]) -> object:
    """What a variable is. Raises Unreadable when the text is no value of its type."""
    if shape is None:
        return text
    texts, metas = [text] if isinstance(text, str) else text, [meta] if isinstance(meta, dict) else meta
    values = [shape.value(*answer) for answer in zip(texts, metas, strict=True)]
    return values[0] if isinstance(text, str) else values
