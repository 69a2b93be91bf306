"""Accelerators as facts: what one has, by name for those that are known.

Rates are those of datasheets, dense and in bfloat16: leads that a run replaces by what it measures.
"""

from typing import Literal

import msgspec
from msgspec import Struct

Platform = Literal["cpu", "cuda", "rocm"]


class Accelerator(Struct, frozen=True, kw_only=True):
    """A device beside the processor."""

    name: str
    platform: Platform
    memory_bytes: int
    free_bytes: int  # what this process may still take
    capability: tuple[int, int] = (0, 0)  # of its instructions: (9, 0) is Hopper, (9, 4) is gfx942
    multiprocessors: int = 0
    bandwidth: float = 0.0  # bytes a second; 0: not known
    flops: float = 0.0  # operations of bfloat16 a second; 0: not known


class _Known(Struct, frozen=True):
    platform: Platform
    capability: tuple[int, int]
    multiprocessors: int
    memory_mib: int
    bandwidth: float
    flops: float


# The first whose words all stand in a device's name is meant.
KNOWN: dict[str, _Known] = {
    "b200": _Known("cuda", (10, 0), 148, 183359, 8.0e12, 2250e12),
    "h200": _Known("cuda", (9, 0), 132, 143771, 4.8e12, 989e12),
    "h100 pcie": _Known("cuda", (9, 0), 114, 81559, 2.0e12, 756e12),
    "h100 nvl": _Known("cuda", (9, 0), 132, 95830, 3.9e12, 835e12),
    "h100": _Known("cuda", (9, 0), 132, 81559, 3.35e12, 989e12),
    "a100 40gb": _Known("cuda", (8, 0), 108, 40960, 1.555e12, 312e12),
    "a100": _Known("cuda", (8, 0), 108, 81920, 2.039e12, 312e12),
    "l40s": _Known("cuda", (8, 9), 142, 46068, 0.864e12, 362e12),
    "l4": _Known("cuda", (8, 9), 58, 23034, 0.3e12, 121e12),
    "4090": _Known("cuda", (8, 9), 128, 24564, 1.008e12, 165e12),
    "mi325x": _Known("rocm", (9, 4), 304, 262128, 6.0e12, 1307e12),
    "mi300x": _Known("rocm", (9, 4), 304, 196592, 5.3e12, 1307e12),
}


def known(name: str) -> Accelerator | None:
    """The device of this name with all of its memory free, as `stemma plan --device NAME` takes it."""
    found = _find(name)
    if found is None:
        return None
    word, facts = found
    memory_bytes = facts.memory_mib << 20
    return Accelerator(
        name=word.upper(),
        platform=facts.platform,
        memory_bytes=memory_bytes,
        free_bytes=memory_bytes,
        capability=facts.capability,
        multiprocessors=facts.multiprocessors,
        bandwidth=facts.bandwidth,
        flops=facts.flops,
    )


def rated(found: Accelerator) -> Accelerator:
    """The same device with the rates that its name tells, if it is a known one."""
    entry = _find(found.name)
    return msgspec.structs.replace(found, bandwidth=entry[1].bandwidth, flops=entry[1].flops) if entry else found


def _find(name: str) -> tuple[str, _Known] | None:
    words = name.lower().replace("-", " ").split()
    return next(((key, facts) for key, facts in KNOWN.items() if set(key.split()) <= set(words)), None)
