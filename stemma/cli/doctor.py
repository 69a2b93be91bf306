"""`stemma doctor`: what this machine can run, what is chosen, and why."""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec
from rich.console import Console
from rich.table import Column

from stemma.cli.show import table_of
from stemma.core.base.errors import StemmaError
from stemma.core.base.numbers import format_bytes
from stemma.core.config.accelerator import Accelerator
from stemma.core.config.engine import LIBRARIES
from stemma.core.config.flags import Parser, add_options, asked
from stemma.core.config.ledger import RUNTIME_BYTES
from stemma.core.config.machine import Machine, find_compiler, probe
from stemma.core.config.model import DTYPE_BYTES
from stemma.core.config.place import Place, imagined
from stemma.core.config.resolve import resolve

Facts = Iterator[tuple[str, str, str]]  # what, value, remark


def doctor(argv: Sequence[str]) -> int:
    """Print what there is and what is decided. Exit status 1: the model cannot be served here."""
    parser = Parser(
        "stemma doctor",
        "stemma doctor [MODEL] [options]",
        "Tell what this machine can run, what would be chosen for a model, and why.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    add_options(parser, without=("server", "log"))
    ask, console = asked(parser.parse(argv)), Console()
    machine, device = imagined(probe(), ask.device)
    ask = msgspec.structs.replace(ask, device=device)
    console.print(table_of("this machine", (Column(no_wrap=True), Column(), Column()), machine_facts(machine)))
    console.print(table_of("software", (Column(no_wrap=True), Column(), Column()), software_facts(machine)))
    try:
        settled = resolve(ask, machine)
    except StemmaError as error:
        console.print(f"cannot be served: {error.message}", markup=False)
        return 1
    chosen = ((reason.name, reason.value, reason.why) for reason in settled.reasons)
    console.print(
        table_of("chosen", (Column("setting", no_wrap=True), Column("value", overflow="fold"), Column("why")), chosen)
    )
    needed, limit = settled.ledger.private_bytes, settled.ledger.limit_bytes
    console.print(f"{format_bytes(needed)} of {format_bytes(limit)} memory; `stemma plan` tells the parts.")
    return 0


def machine_facts(machine: Machine) -> Facts:
    """What the machine has, and what that means."""
    yield "processor", f"{machine.name} ({machine.architecture})", ""
    yield "cores", str(machine.cores), "physical, within affinity and cgroup"
    yield "memory", format_bytes(machine.memory_bytes), "the least of what is available and what the cgroup grants"
    share = 1 - Place(device="", memory_bytes=0).cache_share
    most = (machine.memory_bytes - RUNTIME_BYTES) * share / DTYPE_BYTES["bfloat16"]
    yield "largest model", f"{most / 1e9:.1f} billion parameters", "in bfloat16, with a quarter left for the cache"
    yield (
        "huge pages",
        machine.huge_pages,
        "for weights and cache" if machine.huge_pages != "never" else "reads are slower",
    )
    yield "instructions", " ".join(machine.instructions) or "none that matter", ""
    fast = machine.has("avx512_bf16", "amx_bf16", "bf16")
    yield "bfloat16", "in hardware" if fast else "emulated", "" if fast else "works, but float32 may be faster"
    for number, found in enumerate(machine.accelerators):
        yield f"accelerator {number}", found.name, machine.cannot_accelerate or accelerator_facts(found)
    if not machine.accelerators:
        yield "accelerator", "none", "no driver of one was found; none is needed"


def accelerator_facts(found: Accelerator) -> str:
    rates = f", {found.bandwidth / 1e12:.2f} TB/s by its datasheet" if found.bandwidth else ""
    free, whole = format_bytes(found.free_bytes), format_bytes(found.memory_bytes)
    version = ".".join(map(str, found.capability))
    return f"{free} of {whole} free, {found.multiprocessors} multiprocessors of capability {version}{rates}"


def software_facts(machine: Machine) -> Facts:
    """Python, torch, and compilers."""
    yield "stemma", _version("stemma-llm"), ""
    yield "python", platform.python_version(), ""
    yield "torch", _version("torch"), ""
    libraries = ", ".join(f"--attention-backend {name}: {LIBRARIES[name]}" for name in LIBRARIES)
    yield "attention", " ".join(machine.attention) or "no library of others", f"used if asked for: {libraries}"
    remark = machine.cannot_build or "builds the native kernels at first use"
    yield "compiler", find_compiler() or "none", remark


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
