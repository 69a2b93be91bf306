"""The sources as syntax trees, for the tests of this folder."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture.layout import ROOMS, room_of

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, eq=False)
class Module:
    """One Python file: `stemma.core.base.errors`, its path, text and tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def lines(self) -> int:
        return self.text.count("\n")


def read(path: Path) -> Module:
    relative = path.relative_to(ROOT).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    text = path.read_text()
    return Module(".".join(parts), path, text, ast.parse(text, str(path)))


@cache
def modules(folder: str = "stemma") -> tuple[Module, ...]:
    return tuple(read(path) for path in sorted((ROOT / folder).rglob("*.py")))


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every import below `tree`, late and type-only ones too: (dotted name, line).

    `from a.b import c` yields `a.b.c`: whoever asks decides whether c is a module or a thing in one.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield node


def module_named(name: str, known: frozenset[str]) -> str:
    """The module that an imported name is, or lives in."""
    return name if name in known else name.rpartition(".")[0]


def lines_by_room() -> dict[str, int]:
    """Lines of each room as it stands."""
    rooms = dict.fromkeys(ROOMS, 0)
    for module in modules():
        room = room_of(module.name)
        if room is not None:
            rooms[room] += module.lines
    return rooms
