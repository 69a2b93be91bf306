"""Runs a program without a model, to see what it says: its graph, and the text that every run begins with."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import NoReturn

from stemma.front.lang import ir
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.errors import StopTracing
from stemma.front.lang.executor import Call, Value
from stemma.front.lang.picture import Track
from stemma.front.lang.templates import ChatTemplate
from stemma.front.lang.transcript import Transcript

# The backend of the trace that calls us; None outside of one.
traced_on: ContextVar[BaseBackend | None] = ContextVar("backend of the trace", default=None)


class Recorder:
    """One branch of a traced program: keeps the nodes. What only a run knows is a Variable, or ends the trace."""

    def __init__(self, template: ChatTemplate, stops_at_fork: bool, last_node: ir.Node | None = None):
        self.nodes: list[ir.Node] = []
        self.last_node = last_node
        self.fork_start = 0
        self.track = Track()  # nothing was done
        self._template = template
        self._stops_at_fork = stops_at_fork
        self.variables: dict[str, object] = {}
        self._pid = 0
        self._pids = count(1)

    def submit(self, expr: ir.Expr) -> None:
        for node in ir.each(expr):
            node.prev_node, node.pid = self.last_node, self._pid
            self.last_node = node
            self.nodes.append(node)
            if isinstance(node, ir.Gen | ir.Select | ir.VarScopeBegin) and node.name is not None:
                self.variables[node.name] = ir.Variable(node.name)

    def set_var(self, name: str, content: object) -> None:
        self.variables[name] = content

    def value(self, name: str, timeout_seconds: float | None = None) -> Value:
        return Value(self.variables[name])

    def fork(self, size: int) -> "list[Recorder]":
        if self._stops_at_fork:
            raise StopTracing
        self.submit(ir.Fork(size))
        children = []
        for index in range(size):
            child = Recorder(self._template, False, self.last_node)
            child.variables, child._pid, child._pids = dict(self.variables), next(self._pids), self._pids
            child.submit(ir.GetForkItem(index))
            children.append(child)
        return children

    def text(self) -> str:
        if self._stops_at_fork:
            raise StopTracing
        return ""

    def _true(self, *_: object, **__: object) -> bool:
        return True

    def _none(self, *_: object, **__: object) -> None:
        """Nothing is under way, computed or held."""

    def _stop(self, *_: object, **__: object) -> NoReturn:
        raise StopTracing

    def call_when(self, call: Call) -> None:
        call.make()

    has = has_news = is_program = wait = _true
    commit = sync = end = error = _none
    messages = news = failure = _stop

    def prefix(self) -> str:
        """The text that stands before anything a run has to find out."""
        transcript = Transcript(self._template)
        for node in self.nodes:
            match node:
                case ir.ConstantText(text=text):
                    transcript.text += text
                case ir.RoleBegin(role=role):
                    transcript.begin(role)
                case ir.RoleEnd(role=role):
                    transcript.end(role)
                case ir.VarScopeBegin() | ir.VarScopeEnd():
                    pass
                case _:
                    break
        return transcript.text


@contextmanager
def tracing(backend: BaseBackend) -> Iterator[None]:
    """Programs that are called inside are traced, not run."""
    token = traced_on.set(backend)
    try:
        yield
    finally:
        traced_on.reset(token)
