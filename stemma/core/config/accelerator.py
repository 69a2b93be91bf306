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


def _card(
    name: str, platform: Platform, capability: tuple[int, int], units: int, mib: int, bandwidth: float, flops: float
) -> Accelerator:
    return Accelerator(
        name=name,
        platform=platform,
        memory_bytes=mib << 20,
        free_bytes=mib << 20,
        capability=capability,
        multiprocessors=units,
        bandwidth=bandwidth,
        flops=flops,
    )


# The first whose words all stand in a device's name is meant.
KNOWN = {
    card.name.lower(): card
    for card in (
        _card("B200", "cuda", (10, 0), 148, 183359, 8.0e12, 2250e12),
        _card("H200", "cuda", (9, 0), 132, 143771, 4.8e12, 989e12),
        _card("H100 PCIE", "cuda", (9, 0), 114, 81559, 2.0e12, 756e12),
        _card("H100 NVL", "cuda", (9, 0), 132, 95830, 3.9e12, 835e12),
        _card("H100", "cuda", (9, 0), 132, 81559, 3.35e12, 989e12),
        _card("A100 40GB", "cuda", (8, 0), 108, 40960, 1.555e12, 312e12),
        _card("A100", "cuda", (8, 0), 108, 81920, 2.039e12, 312e12),
        _card("L40S", "cuda", (8, 9), 142, 46068, 0.864e12, 362e12),
        _card("L4", "cuda", (8, 9), 58, 23034, 0.3e12, 121e12),
        _card("4090", "cuda", (8, 9), 128, 24564, 1.008e12, 165e12),
        _card("MI325X", "rocm", (9, 4), 304, 262128, 6.0e12, 1307e12),
        _card("MI300X", "rocm", (9, 4), 304, 196592, 5.3e12, 1307e12),
    )
}


def known(name: str) -> Accelerator | None:
    """The device of this name with all of its memory free, as `stemma plan --device NAME` takes it."""
    words = set(name.lower().replace("-", " ").split())
    return next((card for key, card in KNOWN.items() if words.issuperset(key.split())), None)


def rated(found: Accelerator) -> Accelerator:
    """The same device with the rates that its name tells, if it is a known one."""
    card = known(found.name)
    return msgspec.structs.replace(found, bandwidth=card.bandwidth, flops=card.flops) if card else found
