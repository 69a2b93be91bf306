"""The promise of `stemma plan`: within five percent of what an engine that lives has taken for itself."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_ledger_is_within_five_percent() -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "--max-total-tokens", "16k"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["peak"] >= measured["after"] > measured["loaded"]
    assert abs(measured["planned"] / measured["after"] - 1) < 0.05, measured
    assert abs(measured["planned"] / measured["peak"] - 1) < 0.05, measured
