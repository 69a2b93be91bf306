"""Runs a program without a model, to see what it says: its graph, and the text that every run begins with.

Both are executors that ask nobody: whatever reads and writes runs reads and writes traces too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import NoReturn, Self

from stemma.front.lang import ir
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.errors import StopTracing
from stemma.front.lang.executor import Executor, Value

_CONSTANT = (ir.ConstantText, ir.RoleBegin, ir.RoleEnd, ir.VarScopeBegin, ir.VarScopeEnd)  # the same in every run

# The backend of the trace that calls us; None outside of one.
traced_on: ContextVar[BaseBackend | None] = ContextVar("backend of the trace", default=None)


class Recorder(Executor):
    """One branch of a traced program: keeps its nodes. What only a run knows is a Variable; text there is none."""

    last_node: ir.Node | None = None
    _pid = 0
    _pids: Iterator[int]  # of branches to come, in the whole program

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pids = count(1)

    def submit(self, expr: ir.Expr) -> None:
        for node in ir.each(expr):
            node.prev_node, node.pid = self.last_node, self._pid
            self.last_node = node
            if isinstance(node, ir.Making) and node.name is not None:
                self.set_var(node.name, ir.Variable(node.name))

    def set_var(self, name: str, content: object) -> None:
        self.variables[name] = Value(content, is_done=True)

    def commit(self) -> None:
        """Nothing is computed."""

    def fork(self, size: int) -> list[Self]:
        self.submit(ir.Fork(size))
        branches = super().fork(size)
        for index, branch in enumerate(branches):
            branch.last_node, branch._pid, branch._pids = self.last_node, next(self._pids), self._pids
            branch.submit(ir.GetForkItem(index))
        return branches


class Glance(Executor):
    """Runs a program up to what not every run says, where it ends with StopTracing."""

    def submit(self, expr: ir.Expr) -> None:
        for node in ir.each(expr):
            if not isinstance(node, _CONSTANT):
                self._leave()
            super().submit(node)

    set_var = Recorder.set_var

    def fork(self, size: int) -> NoReturn:
        self._leave()

    def _leave(self) -> NoReturn:
        error = StopTracing()
        self.cancel(error)  # a program that catches it says no more
        raise error


@contextmanager
def tracing(backend: BaseBackend) -> Iterator[None]:
    """Programs that are called inside are traced, not run."""
    token = traced_on.set(backend)
    try:
        yield
    finally:
        traced_on.reset(token)
