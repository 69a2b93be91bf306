"""What this machine has, found without torch: processors, memory, instruction sets, accelerators."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from stemma.core.base.numbers import ceil_div
from stemma.core.config.accelerator import Accelerator
from stemma.core.config.drivers import cannot_accelerate, find_accelerators
from stemma.core.config.engine import LIBRARIES
from stemma.core.config.env import cache_folder

# The instruction sets that decide how fast a model runs, as /proc/cpuinfo spells them.
_TELLING = (
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)
COMPILERS = ("c++", "g++", "clang++")


class Machine(Struct, frozen=True, kw_only=True):
    """The facts that `resolve` decides by."""

    name: str  # of the processor
    architecture: str  # "x86_64" or "aarch64"
    cores: int  # physical cores that this process may use
    memory_bytes: int  # what this process may still take: min(cgroup limit, available memory)
    instructions: tuple[str, ...] = ()
    huge_pages: str = "never"  # transparent ones: always, madvise or never
    cannot_build: str = ""  # why native kernels cannot be built here; empty: they can
    accelerators: tuple[Accelerator, ...] = ()  # by their numbers
    cannot_accelerate: str = ""  # why none of them can be used; empty: they can
    attention: tuple[str, ...] = ()  # backends whose library is installed

    def has(self, *instructions: str) -> bool:
        """Whether any of these instruction sets is there."""
        return any(each in self.instructions for each in instructions)


def probe(root: Path = Path("/")) -> Machine:
    """Look at the machine. `root` is where /proc and /sys are found."""
    about = _cpuinfo(root / "proc/cpuinfo")
    flags = (about.get("flags") or about.get("Features") or "").split()
    architecture = platform.machine()
    return Machine(
        name=about.get("model name") or architecture,
        architecture=architecture,
        cores=_usable_cores(root, os.sched_getaffinity(0)),
        memory_bytes=min([_available_bytes(root), *_limits(root, "memory", "memory.max", "memory.limit_in_bytes")]),
        instructions=tuple(name for name in _TELLING if name in flags),
        huge_pages=_huge_pages(root),
        cannot_build=_cannot_build(),
        accelerators=find_accelerators(root),
        cannot_accelerate=cannot_accelerate(),
        attention=tuple(backend for backend, library in LIBRARIES.items() if find_spec(library)),
    )


def find_compiler() -> str | None:
    """A C++ compiler that takes the options of gcc."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def _cannot_build() -> str:
    if find_compiler() is None:
        return f"no C++ compiler ({', '.join(COMPILERS)}) was found"
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return "" if os.access(existing, os.W_OK) else f"{existing} cannot be written"


def _huge_pages(root: Path) -> str:
    """The word that stands in brackets."""
    file = root / "sys/kernel/mm/transparent_hugepage/enabled"
    return file.read_text().partition("[")[2].partition("]")[0] if file.exists() else "never"


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    lines = path.read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _available_bytes(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo tells no MemAvailable")


def _usable_cores(root: Path, cpus: set[int]) -> int:
    """Physical cores within the affinity, or fewer when a cgroup grants less time."""
    cores = {
        siblings.read_text() if siblings.exists() else str(cpu)
        for cpu in sorted(cpus)
        for siblings in [root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"]
    }
    return max(1, min([len(cores), *_quotas(root)]))


def _quotas(root: Path) -> Iterator[int]:
    """Processors' worth of time that each cgroup above this process grants."""
    for folder in _cgroups(root, "cpu"):
        quota = _words(folder / "cpu.max")  # version 2: "200000 100000", or "max 100000"
        if not quota:
            quota = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            yield ceil_div(int(quota[0]), int(quota[1]))


def _limits(root: Path, controller: str, *names: str) -> Iterator[int]:
    for folder in _cgroups(root, controller):
        for name in names:
            yield from (int(word) for word in _words(folder / name) if word != "max")


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and of all above it, in version 1 and version 2.

    Kernels that are not Linux (gVisor) may tell of none.
    """
    mounted, told = root / "sys/fs/cgroup", root / "proc/self/cgroup"
    for line in told.read_text().splitlines() if told.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops = [mounted, mounted / "unified"]
        elif controller in controllers.split(","):
            tops = [mounted / controller, mounted / controllers]
        else:
            continue
        inside = Path(path.lstrip("/"))
        yield from (top / part for top in tops for part in (inside, *inside.parents) if (top / part).is_dir())


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []
