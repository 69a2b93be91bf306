"""`s`: what a program writes to, and what it and its callers read."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, Literal, Self, TypeVar

from stemma.front.lang.errors import Misuse
from stemma.front.lang.executor import Executor
from stemma.front.lang.ir import ConstantText, Expr, Node, RoleBegin, RoleEnd, VarScopeBegin, VarScopeEnd
from stemma.front.lang.picture import svg
from stemma.front.lang.reading import read, read_along
from stemma.front.lang.trace import Recorder

JoinMode = Literal["gather_variable", "concate_and_append"]


class Speaker:
    """What writes to a branch of a program: `+=` and turns. It never waits for a model."""

    def __init__(self, branch: Executor):
        self.stream_executor = branch

    def __iadd__(self, expr: Expr) -> Self:
        if expr is None:
            raise ValueError("a program cannot say None; did a function forget to return?")
        self.stream_executor.submit(expr)
        return self

    def system(self, expr: Expr | None = None) -> Any:
        """Say a whole turn; without `expr`, a context in which to say it."""
        return self._turn("system", expr)

    def user(self, expr: Expr | None = None) -> Any:
        """As `system`."""
        return self._turn("user", expr)

    def assistant(self, expr: Expr | None = None) -> Any:
        """As `system`."""
        return self._turn("assistant", expr)

    def var_scope(self, name: str) -> AbstractContextManager[None]:
        """All that is said inside becomes a variable."""
        return self._within(VarScopeBegin, VarScopeEnd, name)

    def set_var(self, name: str, value: object) -> None:
        self.stream_executor.set_var(name, value)

    __setitem__ = set_var

    def __contains__(self, name: str) -> bool:
        return name in self.stream_executor.variables

    def _commit(self, size: int) -> None:
        """Say what has to be said before a fork."""
        if size < 1:
            raise Misuse(f"a fork has at least one branch, not {size}")
        if size > 1:
            self.stream_executor.commit()

    def _turn(self, role: str, expr: Expr | None) -> Any:
        if expr is None:
            return self._within(RoleBegin, RoleEnd, role)
        self.stream_executor.submit(RoleBegin(role) + expr + RoleEnd(role))
        return None

    @contextmanager
    def _within(self, begin: Callable[[str], Node], end: Callable[[str], Node], name: str) -> Iterator[None]:
        self.stream_executor.submit(begin(name))
        try:
            yield
        finally:
            self.stream_executor.submit(end(name))


class ProgramState(Speaker):
    """The state of a program, or of one of its branches.

    Writing (`+=`, roles) does not wait for a model; reading waits until what is read is there. What
    failed raises ProgramError, with the program's line, where it is read.
    """

    def __init__(self, branch: Executor):
        super().__init__(branch)
        self.ret_value: Any = None  # what the program returned

    def fork(self, size: int = 1, position_ids_offset: list[int] | None = None) -> "ProgramStateGroup":
        """Branches that begin with everything so far and share it. Raises ProgramError when that has failed."""
        if position_ids_offset is not None:
            raise Misuse("position_ids_offset is not served yet; leave it out")
        self._commit(size)
        return ProgramStateGroup([ProgramState(branch) for branch in self.stream_executor.fork(size)], self)

    @contextmanager
    def copy(self, position_ids_offset: list[int] | None = None) -> Iterator["ProgramState"]:
        """One branch, joined at the end of the context."""
        group = self.fork(1, position_ids_offset)
        yield group[0]
        group.join()

    def text(self) -> str:
        """All text; after a failure, as much as there is."""
        return self.stream_executor.text()

    def messages(self) -> list[dict[str, object]]:
        """The turns that have ended, as in the OpenAI API."""
        return self.stream_executor.messages()

    def sync(self) -> None:
        self.stream_executor.sync()

    def error(self) -> BaseException | None:
        """What went wrong, once all is done."""
        return self.stream_executor.error()

    def get_var(self, name: str) -> Any:
        """Raises KeyError when the program has no such variable."""
        return self.stream_executor.value(name).content

    def get_meta_info(self, name: str, timeout: float | None = None) -> Any:
        """What the backend told about a generation. Raises TimeoutError after so many seconds."""
        return self.stream_executor.value(name, timeout).meta

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """New text of the program, or of a variable, as it comes; at once if the run does not stream."""
        return read(self.stream_executor, var_name)

    def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """The same; with `return_meta_data`, pairs of new text and meta_info, whose output lists hold what is new."""
        return read_along(self.stream_executor, var_name, return_meta_data, of_program=False)

    def visualize(self) -> str:
        """SVG of what has run: branches, what each waited for and how long, what was found in the cache."""
        self.sync()
        return svg(self.stream_executor.track)

    def __getitem__(self, name: str) -> Any:
        return self.get_var(name)

    def __repr__(self) -> str:
        return f"ProgramState({self.text()})"


class TracedState(ProgramState):
    """The state of a program that was traced."""

    stream_executor: Recorder

    @property
    def last_node(self) -> Node | None:
        """`last_node.print_graph_dfs()` shows it and all before it."""
        return self.stream_executor.last_node


S = TypeVar("S", bound=Speaker)


class Branches(Generic[S]):
    """The branches of a fork."""

    def __init__(self, states: list[S], parent: S):
        self.states = states
        self.parent = parent

    def __getitem__(self, index: int) -> S:
        return self.states[index]

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[S]:
        return iter(self.states)

    def __iadd__(self, other: Expr | Sequence[Expr] | Callable[[int], Expr]) -> Self:
        """Say something in every branch: the same, one thing each, or what a function of the index returns."""
        if isinstance(other, list | tuple) and len(other) != len(self.states):
            raise ValueError(f"{len(other)} expressions for {len(self.states)} branches")
        for index, state in enumerate(self.states):
            if isinstance(other, Node | str):
                state.__iadd__(other)
            else:
                state.__iadd__(other(index) if callable(other) else other[index])
        return self


class ProgramStateGroup(Branches[ProgramState]):
    """The branches of a fork, which can be joined."""

    def join(self, mode: JoinMode = "gather_variable") -> None:
        """Give the parent what the branches made: each new variable as a list, or their text.

        Raises ProgramError when a branch has failed.
        """
        texts = [state.text() for state in self.states]
        for state in self.states:
            state.stream_executor.raise_failure()
        if mode == "gather_variable":
            made = [
                name for state in self.states for name in state.stream_executor.variables if name not in self.parent
            ]
            for name in dict.fromkeys(made):
                self.parent[name] = [state[name] for state in self.states if name in state]
        elif mode == "concate_and_append":
            news = [text[state.stream_executor.fork_start :] for text, state in zip(texts, self.states, strict=True)]
            self.parent += ConstantText("".join(news))
        else:
            raise ValueError(f"join has the modes gather_variable and concate_and_append, not {mode!r}")
        for state in self.states:
            state.stream_executor.end()
