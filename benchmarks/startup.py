"""From the command to the first token: `stemma serve` on acorn, beside a bare `import torch` in the same run.

    python -m benchmarks.startup [RUNS]

Alternates the two, so that a slow moment of the machine hits both. `ratio` is what to watch.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from statistics import median

from benchmarks.facts import report
from stemma.cli.child import free_port


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_token_seconds() -> float:
    """Start a server, and ask as often as it takes until a token comes back."""
    port = free_port()
    began = time.perf_counter()
    command = [sys.executable, "-m", "stemma", "serve", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command)
    try:
        while not has_answered(port):
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        server.terminate()
        server.wait()


def has_answered(port: int) -> bool:
    body = json.dumps({"text": "Hello", "sampling_params": {"max_new_tokens": 1}}).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/generate", body, timeout=30) as answer:
            return bool(json.load(answer)["output_ids"])
    except (urllib.error.URLError, ConnectionError):
        return False


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch, first, helps = [], [], []
    for _ in range(runs):
        torch.append(seconds_of([sys.executable, "-c", "import torch"]))
        first.append(first_token_seconds())
        helps.append(seconds_of([sys.executable, "-m", "stemma", "--help"]))
    ratios = [mine / bare for mine, bare in zip(first, torch, strict=True)]
    report(
        "startup",
        unit="seconds, median of runs",
        runs=runs,
        import_torch=round(median(torch), 3),
        first_token=round(median(first), 3),
        first_token_spread=[round(min(first), 3), round(max(first), 3)],
        ratio=round(median(ratios), 2),
        help=round(median(helps), 3),
    )


if __name__ == "__main__":
    main()
