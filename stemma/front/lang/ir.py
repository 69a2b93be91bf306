"""What a program says, as nodes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from msgspec import Struct, field

from stemma.front.lang.choices import ChoicesSamplingMethod
from stemma.front.lang.schema import Shape

_ids = count()


class Node(Struct, eq=False, kw_only=True):
    """One thing that a program says. `+` with text or a node makes an ExprList.

    `prev_node` and `pid` (which branch of the program) are written by the tracer alone.
    """

    node_id: int = field(default_factory=_ids.__next__)
    prev_node: "Node | None" = None
    pid: int = 0

    def __add__(self, other: "Node | str") -> "ExprList":
        return ExprList((*each(self), *each(other)))

    def __radd__(self, other: "Node | str") -> "ExprList":
        return ExprList((*each(other), *each(self)))

    def __format__(self, form: str) -> str:
        raise TypeError(f"{type(self).__name__} says nothing in an f-string; add it with +")

    def __repr__(self) -> str:
        own = self.__struct_fields__[: -len(Node.__struct_fields__)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r:.500}' for name in own)})"

    def print_graph_dfs(self) -> str:
        """This node and all before it, the oldest first, a line each."""
        lines: list[str] = []
        at: Node | None = self
        while at is not None:
            lines.append(f"{at.pid}: %{at.node_id} = {at!r}")
            at = at.prev_node
        return "\n".join(reversed(lines))


class ExprList(Node):
    """Several nodes, one after another; never nested."""

    nodes: tuple[Node, ...]


class ConstantText(Node):
    text: str


class Gen(Node):
    name: str | None
    options: Mapping[str, object]  # sampling, as far as the program settles it
    shape: Shape | None = None  # of the variable, when that is no text


class Select(Node):
    name: str | None
    choices: Sequence[str]
    temperature: float
    method: ChoicesSamplingMethod


class Image(Node):
    image: object  # path, bytes, or what can save itself


class Video(Node):
    path: str
    num_frames: int


class RoleBegin(Node):
    role: str


class RoleEnd(Node):
    role: str


class VarScopeBegin(Node):
    name: str


class VarScopeEnd(Node):
    name: str


class CommitLazy(Node):
    """Have the backend compute the text so far: children will begin with it."""


class SeparateReasoning(Node):
    model_type: str | None
    name: str | None  # the variable that holds thinking and answer


class Unknown(Node):
    """A value that only a run will know: it can be said, but not looked at."""

    name: str

    def __format__(self, form: str) -> str:
        raise TypeError(f"{self.name!r} has no value while the program is traced; add it with +, not in an f-string")

    def __str__(self) -> str:
        return self.__format__("")

    def __bool__(self) -> bool:
        raise TypeError(f"{self.name!r} has no value while the program is traced")


class Argument(Unknown):
    """An argument of a traced program."""


class Variable(Unknown):
    """What a traced program would have generated."""


class Fork(Node):
    size: int


class GetForkItem(Node):
    index: int


Expr = Node | str
Making = Gen | Select | VarScopeBegin  # a variable, if it has a name


def each(expr: Expr) -> Iterator[Node]:
    """The nodes of an expression, in order."""
    if isinstance(expr, ExprList):
        yield from expr.nodes
    elif isinstance(expr, Node):
        yield expr
    elif isinstance(expr, str):
        yield ConstantText(expr)
    else:
        raise ValueError(f"a program can say text and nodes, not {expr!r}; str() makes text of it")
