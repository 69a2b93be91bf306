"""What every result says beside its numbers: when, where, and of which commit."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from stemma.core.config.machine import probe

ROOT = Path(__file__).resolve().parent.parent


def report(bench: str, **numbers: object) -> None:
    """Print one result as one JSON line."""
    print(json.dumps({"bench": bench, **numbers, **facts()}))


def facts() -> dict[str, object]:
    """The machine as the engine sees it. `load` is of the last minute: what else was running."""
    machine = probe()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "machine": machine.name,
        "cores": machine.cores,
        "instructions": list(machine.instructions),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Of the checkout; a `+` says that it was changed."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
