"""From the sources beside this file to a shared library, once for each instruction set, compiler and version of them.

A library is named by all that went into it, so a later start only opens it. Processes that need it at the same time
build it once.
"""

import fcntl
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from stemma.core.base.errors import ConfigError
from stemma.core.config.engine import Kernels
from stemma.core.config.env import cache_folder
from stemma.core.config.machine import find_compiler, probe

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-fvisibility=hidden", "-w")
_AVX512 = "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"
_INSTRUCTIONS: dict[Kernels, str] = {
    "portable": "",
    "avx2": "-mavx2 -mfma",
    "avx512": _AVX512,
    "avx512_vnni": f"{_AVX512} -mavx512vnni",
    "avx512_bf16": f"{_AVX512} -mavx512bf16 -mavx512vnni",
    "amx": f"{_AVX512} -mavx512bf16 -mavx512vnni -DTILES",
}
_SOFT_TILES = "-DSOFT_TILES"  # tiles.h: what stands for the instructions of `amx` where a processor lacks them


def build(kernels: Kernels) -> Path:
    """The library of these kernels; built if it is not there yet. Raises ConfigError when it cannot be."""
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError(f"kernels: {kernels} have to be built and no C++ compiler was found; install g++ or clang++")
    flags = [*_FLAGS, *_INSTRUCTIONS[kernels].split()]
    if kernels == "amx" and not probe().has("amx_tile"):
        flags.append(_SOFT_TILES)
    sources = sorted(_SOURCES.glob("*.cpp"))
    folder = cache_folder() / "native"
    target = folder / f"{kernels}-{_digest(compiler, flags)}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _build([compiler, *flags], sources, target)
    return target


def _digest(compiler: str, flags: list[str]) -> str:
    """Of the sources, the flags, and the compiler: its place, size and time stand for its version."""
    found = os.stat(compiler)
    digest = hashlib.sha256(repr((compiler, found.st_size, found.st_mtime_ns, flags)).encode())
    for path in sorted((*_SOURCES.glob("*.cpp"), *_SOURCES.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(command: list[str], sources: list[Path], target: Path) -> None:
    """Sources side by side. Nobody ever sees a library that is not whole: it is renamed when it is."""
    with TemporaryDirectory(dir=target.parent) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [Path(folder) / f"{source.stem}.o" for source in sources]
        jobs = ([*command, "-c", str(source), "-o", str(made)] for source, made in zip(sources, objects, strict=True))
        list(pool.map(_run, jobs))
        linked = Path(folder) / target.name
        _run([command[0], "-shared", *map(str, objects), "-lpthread", "-o", str(linked)])
        linked.rename(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"kernels: the compiler failed with status {done.returncode}; mend it, or take --kernels reference\n"
            f"{' '.join(command)}\n{done.stderr[:2000]}"
        )
