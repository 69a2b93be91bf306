"""The map of the sources, from their docstrings and the table of rooms: `python -m tools.map write|lines`."""

import ast
import re
import sys

from tests.architecture.layout import ROOMS, floors, room_of
from tests.architecture.source import ROOT, Module, lines_by_room, modules

PAGE = ROOT / "docs" / "map.md"
HEAD = """# The map

Every room and every file, by floor: a room imports from floors above it on this page only.
Made by `make map` from the docstrings and from
[tests/architecture/layout.py](../tests/architecture/layout.py); a test holds it to them.
"""


def says(module: Module) -> str:
    """The first sentence of a module's docstring."""
    return (ast.get_docstring(module.tree) or "").split("\n\n")[0].replace("\n", " ")


def section(room: str, floor: int) -> list[str]:
    files = [module for module in modules() if room_of(module.name) == room]
    init = ROOT / "stemma" / room.removeprefix("stemma") / "__init__.py"
    face = [says(module) for module in files if module.path == init]
    lines = [f"\n## {room} (floor {floor})\n", *face]
    lines += [f"\nMay import: {', '.join(ROOMS[room].uses) or 'nothing of ours'}.\n"]
    for module in files:
        if module.path.name != "__init__.py":
            name = module.place.removeprefix("stemma/").removeprefix(f"{room}/")
            lines.append(f"- [{name}](../{module.place}): {says(module)}")
    return lines


def page() -> str:
    floor = floors()
    order = sorted(ROOMS, key=lambda room: (floor[room], list(ROOMS).index(room)))
    text = HEAD + "\n".join(line for room in order for line in section(room, floor[room])) + "\n"
    return re.sub(r"\n{3,}", "\n\n", text)


def ledger() -> str:
    """Lines of each room beside its budget."""
    rooms = lines_by_room()
    rows = [f"{room:<20}{lines:>7}{ROOMS[room].budget_lines:>8}" for room, lines in rooms.items()]
    total = f"{'total':<20}{sum(rooms.values()):>7}{sum(room.budget_lines for room in ROOMS.values()):>8}"
    return "\n".join([f"{'room':<20}{'lines':>7}{'budget':>8}", *rows, total])


def main() -> None:
    match sys.argv[1:]:
        case ["write"]:
            PAGE.write_text(page())
        case ["lines"]:
            print(ledger())
        case _:
            sys.exit("usage: python -m tools.map write|lines")


if __name__ == "__main__":
    main()
