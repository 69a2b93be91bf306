"""Where an engine computes, and what is taken there when nothing was asked."""

import msgspec
from msgspec import Struct

from stemma.core.base.errors import ConfigError
from stemma.core.config.accelerator import KNOWN, Accelerator, Platform, known
from stemma.core.config.machine import Machine

OLDEST = (8, 0)  # capability of the first devices with arithmetic in bfloat16


class Place(Struct, frozen=True, kw_only=True):
    """A device, and what suits it."""

    device: str  # as torch names it
    memory_bytes: int  # what may be taken there
    accelerator: Accelerator | None = None  # None: the processor
    rows: int = 32
    step_tokens: int = 512
    depth: int = 1
    why_depth: str = "on a processor, planning and computing share the cores"
    cache_share: float = 0.25  # of the memory that the rest leaves
    cache_bytes: int | None = 2 << 30  # at most; None: no limit

    def __str__(self) -> str:
        return self.device

    @property
    def platform(self) -> Platform:
        return "cpu" if self.accelerator is None else self.accelerator.platform


def place_of(asked: str, machine: Machine) -> tuple[Place, str]:
    """The place for `--device`, and why. Raises ConfigError when there is none."""
    processor = Place(device="cpu", memory_bytes=machine.memory_bytes)
    kind, _, number = asked.partition(":")
    if asked == "cpu":
        return processor, "you asked for it"
    if asked == "auto":
        obstacle = _obstacle(machine, 0)
        if obstacle:
            return processor, obstacle
        return _accelerated(machine, 0), f"{machine.accelerators[0].name} was found"
    if kind != "cuda" or not (number.isdecimal() or asked == kind):
        others = f"; `stemma plan` also takes {', '.join(KNOWN)}"
        raise ConfigError(f"device: {asked!r} is none; there are auto, cpu, cuda, cuda:0, cuda:1, ...{others}")
    obstacle = _obstacle(machine, int(number or 0))
    if obstacle:
        raise ConfigError(f"device: {asked} cannot be served: {obstacle}; take cpu")
    return _accelerated(machine, int(number or 0)), "you asked for it"


def imagined(machine: Machine, asked: str) -> tuple[Machine, str]:
    """The machine with the known device that `asked` names, and what is asked of it; else both as they are."""
    device = known(asked)
    if device is None:
        return machine, asked
    return msgspec.structs.replace(machine, accelerators=(device,), cannot_accelerate=""), "cuda"


def _obstacle(machine: Machine, number: int) -> str:
    """Why an accelerator cannot be used; empty: it can."""
    if number >= len(machine.accelerators):
        return f"no accelerator {number} was found" if number else "no accelerator was found"
    found = machine.accelerators[number]
    if machine.cannot_accelerate:
        return f"{found.name} was found, but {machine.cannot_accelerate}"
    if found.capability < OLDEST:
        own, least = (".".join(map(str, capability)) for capability in (found.capability, OLDEST))
        return f"{found.name} has capability {own} and kernels need {least}"
    return ""


def _accelerated(machine: Machine, number: int) -> Place:
    found = machine.accelerators[number]
    return Place(
        device=f"cuda:{number}",  # torch names AMD's so, too
        memory_bytes=found.free_bytes,
        accelerator=found,
        rows=256,
        step_tokens=8192,
        depth=2,
        why_depth="the host plans while the device computes",
        cache_share=0.97,  # an allocator leaves gaps
        cache_bytes=None,
    )
