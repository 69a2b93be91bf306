"""Imports go down the floors of layout.py: all of them, late and type-only ones too."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

from tests.architecture.layout import ROOMS, floors, room_of
from tests.architecture.source import imported, module_named, modules


def arrows() -> Iterator[tuple[str, str, str]]:
    """Every import of ours by ours: (module that imports, module imported, place)."""
    known = frozenset(module.name for module in modules())
    for module in modules():
        for name, line in imported(module.tree):
            if name.split(".")[0] == "stemma":
                yield module.name, module_named(name, known), f"{module.place}:{line}"


def test_the_table_is_a_house() -> None:
    floor = floors()
    assert all(floor[used] < floor[room] for room, (uses, _) in ROOMS.items() for used in uses)


def test_every_module_is_in_a_room() -> None:
    strays = [module.place for module in modules() if room_of(module.name) is None and not is_docstring(module.tree)]
    assert not strays, f"in no room of layout.py: {strays}"


def is_docstring(tree: ast.Module) -> bool:
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def test_imports_go_down() -> None:
    wrong = []
    for above, below, place in arrows():
        room, used = room_of(above), room_of(below)
        if room is not None and room != used and used not in ROOMS[room].uses:
            wrong.append(f"{place}: {room} may not import {used or below}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_between_files() -> None:
    graph: dict[str, set[str]] = {}
    for above, below, _ in arrows():
        graph.setdefault(above, set()).add(below)
    order = list(TopologicalSorter(graph).static_order())
    assert set(graph) <= set(order)


def test_late_and_type_only_imports_are_seen() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    import stemma.engine.loop\ndef f():\n    from stemma.cli import main\n")
    assert [name for name, _ in imported(tree)] == ["stemma.engine.loop", "stemma.cli.main"]


def test_room_of() -> None:
    names = ["stemma", "stemma.core", "stemma.core.base.errors", "stemma.engine.loop", "stemma.offline", "stemma.x.y"]
    assert [room_of(name) for name in names] == ["stemma", None, "core/base", "engine", "offline", None]
