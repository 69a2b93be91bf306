"""All checks, each timed: `make test`. Arguments go to pytest, whose summary comes last."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
    "mypy": ["mypy", "--no-error-summary"],
}


def passes(name: str, command: list[str]) -> bool:
    start = time.monotonic()
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    print(f"{name:<12} {'ok' if code == 0 else 'FAILED':<7} {time.monotonic() - start:6.1f} s", flush=True)
    return code == 0


def main() -> int:
    failed = [name for name, command in CHECKS.items() if not passes(name, command)]
    command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    if failed:
        print(f"before the tests, this failed: {', '.join(failed)}", flush=True)
    return code or bool(failed)


if __name__ == "__main__":
    sys.exit(main())
