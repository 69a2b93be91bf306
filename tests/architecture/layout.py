"""The house as data: every room, whom it may import, and how many lines it may grow to.

The only place where the order of the rooms is written. A new room, a new arrow or a larger budget is a
change of this table and a page in docs/decisions/.
"""

from typing import NamedTuple


class Room(NamedTuple):
    uses: tuple[str, ...]  # rooms it may import; all lie on lower floors
    budget_lines: int  # ceiling of all its files together


NOUNS = ("core/base", "core/types", "core/config")

ROOMS = {
    "core/base": Room((), 380),
    "core/types": Room(("core/base",), 750),
    "core/config": Room(("core/base", "core/types"), 2200),
    "core/wire": Room(("core/base", "core/types"), 370),
    "front/text": Room(NOUNS, 1350),
    "front/service": Room((*NOUNS, "core/wire", "front/text"), 1000),
    "front/dialect": Room((*NOUNS, "front/service"), 945),
    "front/server": Room((*NOUNS, "core/wire", "front/text", "front/service", "front/dialect"), 2400),
    "front/lang": Room((*NOUNS, "front/text"), 3520),
    "control/cache": Room(NOUNS, 1150),
    "control/scheduler": Room((*NOUNS, "control/cache", "control/grammar"), 2070),
    "control/grammar": Room((*NOUNS, "control/spelling"), 1830),
    "control/spelling": Room((), 250),
    "device/ops": Room(NOUNS, 3900),
    "device/platforms": Room(NOUNS, 150),
    "device/kv": Room((*NOUNS, "device/ops"), 550),
    "device/weights": Room(("core/base", "core/config", "device/ops"), 730),
    "device/attention": Room((*NOUNS, "device/ops", "device/kv"), 900),
    "device/layers": Room((*NOUNS, "device/ops", "device/weights", "device/attention", "device/kv"), 1640),
    "device/models": Room((*NOUNS, "device/ops", "device/weights", "device/attention", "device/layers"), 470),
    "device/worker": Room(
        (
            *NOUNS,
            "core/wire",
            "device/ops",
            "device/platforms",
            "device/weights",
            "device/kv",
            "device/attention",
            "device/layers",
            "device/models",
        ),
        1700,
    ),
    "engine": Room(
        (*NOUNS, "core/wire", "control/cache", "control/grammar", "control/scheduler", "device/worker"), 910
    ),
    "offline": Room((*NOUNS, "core/wire", "front/service", "front/dialect", "engine"), 270),
    "bench": Room(("core/base", "core/config"), 900),
    "cli": Room((*NOUNS, "device/ops", "front/service", "front/server", "offline", "bench"), 900),
    "stemma": Room(("core/types", "front/lang", "offline"), 120),
}

TORCH = ("device/", "engine", "offline")  # rooms above the torch line; every other room works without it


def floors() -> dict[str, int]:
    """Floor of each room: one above the highest that it uses. A circle ends in RecursionError."""

    def floor(room: str) -> int:
        return 1 + max((floor(used) for used in ROOMS[room].uses), default=-1)

    return {room: floor(room) for room in ROOMS}


def room_of(module: str) -> str | None:
    """`stemma.core.base.errors` is in `core/base`. None: a wing's own `__init__`, or nowhere."""
    parts = module.split(".")
    if len(parts) == 1:
        return parts[0]
    if parts[1] == "__main__":
        return "cli"
    return next((room for room in ("/".join(parts[1:3]), parts[1]) if room in ROOMS), None)


def may_use_torch(room: str) -> bool:
    return room.startswith(TORCH)
