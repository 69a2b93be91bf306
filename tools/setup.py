"""Make or refresh the environment `.venv`: `python3 tools/setup.py demo|test`.

Standard library only, and old syntax on purpose: any Python 3.8 or later can run it and be told what is
missing. The environment itself is made with Python 3.11 or 3.12, found on PATH or among pyenv's versions.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SUPPORTED = ((3, 11), (3, 12))
NEED_GIB = {"demo": 2, "test": 3}  # the environment, and pip's temporary files
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SOURCES = ("pyproject.toml", "requirements/pins.txt")


def fail(message: str) -> NoReturn:
    sys.exit(f"\nsetup: {message}")


def free_gib() -> float:
    return shutil.disk_usage(ROOT).free / 2**30


def version_of(python: str) -> tuple[int, ...] | None:
    """(major, minor) of an interpreter; None when it does not run."""
    try:
        asked = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        out = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(int(part) for part in out.split())


def find_python() -> str:
    """The first interpreter of a supported version: this one, PATH, pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, "python3.11", "python3.12"]
    candidates += [str(path) for minor in (11, 12) for path in sorted(pyenv.glob(f"3.{minor}*/bin/python3"))]
    for candidate in candidates:
        if version_of(candidate) in SUPPORTED:
            return candidate
    fail(
        f"Stemma needs Python 3.11 or 3.12; this is {platform.python_version()}, and no other was found on PATH or "
        "in pyenv.\n       Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv; pyenv: pyenv install "
        "3.12),\n       or name it: make test PYTHON=/path/to/python3.12"
    )


def digest() -> str:
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in SOURCES)).hexdigest()


def is_current(extra: str) -> bool:
    """Whether `.venv` was installed from these very files; what serves the tests serves the demo."""
    names = {extra, "test"}
    stamps = [VENV / f"installed-{name}" for name in sorted(names)]
    return any(stamp.is_file() and stamp.read_text() == digest() for stamp in stamps)


def has_pip() -> bool:
    python = VENV / "bin" / "python"
    if version_of(str(python)) not in SUPPORTED:
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def make_venv() -> None:
    """A fresh `.venv`, unless one of a supported version is there already."""
    if has_pip():
        return
    python = find_python()
    made = subprocess.run([python, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode:
        fail(
            f"{python} cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv).\n"
            f"{(made.stdout + made.stderr).strip()}"
        )


def torch_index() -> list[str]:
    """pip's arguments for PyTorch's CPU build: without an NVIDIA driver, gigabytes of CUDA would be of no use."""
    if platform.machine() != "x86_64" or Path("/proc/driver/nvidia").exists():
        return []
    try:
        urllib.request.urlopen(CPU_INDEX, timeout=3).close()
    except OSError:  # a mirror or a wheel folder may serve torch as well: pip decides
        return []
    return ["--extra-index-url", CPU_INDEX]


def install(extra: str) -> None:
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    command += [*torch_index(), "--constraint", "requirements/pins.txt", "--editable", f".[{extra}]"]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
        fail(
            f"pip could not install the packages; its last lines stand above. {free_gib():.1f} GiB of disk are free.\n"
            "       Without a way to a package index, set PIP_INDEX_URL or PIP_FIND_LINKS to one that can be reached,\n"
            "       then run the same command again."
        )


def main() -> None:
    extra = sys.argv[1] if len(sys.argv) == 2 else ""
    if extra not in NEED_GIB:
        sys.exit("usage: python3 tools/setup.py demo|test")
    if is_current(extra):
        return
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        fail(f"Stemma runs on Linux, x86-64 and aarch64; this is {sys.platform}, {platform.machine()}")
    if not VENV.exists() and free_gib() < NEED_GIB[extra]:
        fail(f"{free_gib():.1f} GiB of disk are free at {ROOT}; the environment needs {NEED_GIB[extra]} GiB")
    start = time.monotonic()
    print(f"setup: installing into {VENV} (once; a few minutes)", flush=True)
    make_venv()
    install(extra)
    (VENV / f"installed-{extra}").write_text(digest())
    print(f"setup: ready after {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
