"""From the command to the first token: `stemma serve`, beside a bare `import torch` in the same run.

    python -m benchmarks.startup [RUNS] [OPTION=VALUE ...]    # model_path=FOLDER quantization=int8; else acorn

Alternates the two, so that a slow moment of the machine hits both. `ratio` is what to watch. The first start of a
large model packs its weights for the later ones: run it once before.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.facts import report
from stemma.cli.bench import first_token_seconds


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    options = dict(word.split("=", 1) for word in sys.argv[2:])
    torch, first, helps = [], [], []
    for _ in range(runs):
        torch.append(seconds_of([sys.executable, "-c", "import torch"]))
        first.append(first_token_seconds(options))
        helps.append(seconds_of([sys.executable, "-m", "stemma", "--help"]))
    ratios = [mine / bare for mine, bare in zip(first, torch, strict=True)]
    report(
        "startup",
        unit="seconds, median of runs",
        runs=runs,
        **{**options, "model_path": Path(options.get("model_path", "acorn")).name},
        import_torch=round(median(torch), 3),
        first_token=round(median(first), 3),
        first_token_spread=[round(min(first), 3), round(max(first), 3)],
        ratio=round(median(ratios), 2),
        help=round(median(helps), 3),
    )


if __name__ == "__main__":
    main()
