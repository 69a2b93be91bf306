"""From the sources beside this file to a shared library, once for each instruction set, compiler and version of them.

A library is named by all that went into it, so a later start only opens it. Processes that need it at the same time
build it once.
"""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

from stemma.core.base.errors import ConfigError
from stemma.core.config.engine import Kernels
from stemma.core.config.env import cache_folder
from stemma.core.config.machine import find_compiler

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-fvisibility=hidden", "-w")
_AVX512 = "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"
_INSTRUCTIONS: dict[Kernels, str] = {
    "portable": "",
    "avx2": "-mavx2 -mfma",
    "avx512": _AVX512,
    "avx512_bf16": f"{_AVX512} -mavx512bf16 -mavx512vnni",
}


def build(kernels: Kernels) -> Path:
    """The library of these kernels; built if it is not there yet. Raises ConfigError when it cannot be."""
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError(f"kernels: {kernels} have to be built and no C++ compiler was found; install g++ or clang++")
    flags = (*_FLAGS, *_INSTRUCTIONS[kernels].split())
    sources = sorted(_SOURCES.glob("*.cpp"))
    folder = cache_folder() / "native"
    target = folder / f"{kernels}-{_digest(compiler, flags)}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _compile([compiler, *flags, *map(str, sources), "-lpthread"], target)
    return target


def _digest(compiler: str, flags: tuple[str, ...]) -> str:
    """Of the sources, the flags, and the compiler: its place, size and time stand for its version."""
    found = os.stat(compiler)
    digest = hashlib.sha256(repr((compiler, found.st_size, found.st_mtime_ns, flags)).encode())
    for path in sorted((*_SOURCES.glob("*.cpp"), *_SOURCES.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(command: list[str], target: Path) -> None:
    """Nobody ever sees a library that is not whole: it is renamed when it is."""
    growing = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([*command, "-o", str(growing)], capture_output=True, text=True, check=False)
    if done.returncode:
        growing.unlink(missing_ok=True)
        raise ConfigError(
            f"kernels: the compiler failed with status {done.returncode}; mend it, or take --kernels reference\n"
            f"{' '.join(command)}\n{done.stderr[:2000]}"
        )
    growing.rename(target)
