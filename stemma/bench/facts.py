"""What every result says beside its numbers: when, where, and of which commit."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stemma.core.config.machine import probe

ROOT = Path(__file__).resolve().parents[2]


def facts() -> dict[str, object]:
    """The machine as the engine sees it. `load` is of the last minute: what else was running."""
    machine = probe()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "machine": machine.name,
        "cores": machine.cores,
        "instructions": list(machine.instructions),
        "accelerators": [found.name for found in machine.accelerators],
        "python": platform.python_version(),
        "torch": version_of("torch"),
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Of the checkout; a `+` says that it was changed. An installed package tells its version instead."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return version_of("stemma-llm") or "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def version_of(distribution: str) -> str | None:
    """None: it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
