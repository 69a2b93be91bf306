"""What a second thread brings: the workloads of `stemma bench`, made short, with 1 thread and with more, in turns.

    python -m benchmarks.scaling [MODEL] [THREADS ...]

Short enough for a model of 0.6 billion parameters to be done within a minute and a half of a quiet machine.
Prints one JSON line per number of threads and workload, the median of the turns: output tokens per second, for
`latency` also while decoding; time to first token; and each over that of the first number of threads.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.facts import report
from stemma.bench.door import meet
from stemma.bench.load import Load, put
from stemma.bench.numbers import Numbers, numbers_of
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Span, Workload
from stemma.cli.child import serving
from stemma.core.base.errors import StemmaError

TURNS = 2
PLAYED = {
    "latency": Workload(requests=1, input_tokens=Span(256, 256), output_tokens=Span(32, 32)),
    "throughput": Workload(requests=8, input_tokens=Span(64, 256), output_tokens=Span(16, 32)),
    "prefix": Workload(requests=8, input_tokens=Span(32, 32), output_tokens=Span(8, 8), shared_tokens=512),
}
READINGS: dict[str, Callable[[Numbers], float]] = {
    "output_throughput": lambda numbers: numbers.per_second(numbers.output_tokens),
    "decode_rate": lambda numbers: 1000 / numbers.spreads["tpot"].median,
    "ttft_rate": lambda numbers: 1000 / numbers.spreads["ttft"].median,
}


def play(model: str | None, threads: int, turn: int) -> dict[str, Numbers]:
    """Each workload once, by its name."""
    found = {}
    with serving({"threads": threads} | ({"model": model} if model else {})) as (url, key):
        server = asyncio.run(meet(url, key))
        for number, (name, workload) in enumerate(PLAYED.items()):
            timelines: list[Timeline] = []
            load = Load(workload=workload, seed=1000 * number + turn, warmups=int(not number))
            asyncio.run(put(server, load, timelines, lambda timeline: None))
            found[name] = numbers_of(timelines)
            if found[name].completed < len(timelines) or found[name].other_length:
                raise StemmaError(f"{name} with {threads} threads: not every answer came, as long as it was asked for")
    return found


def main(model: str | None, counts: Sequence[int]) -> None:
    turns = [{threads: play(model, threads, turn) for threads in counts} for turn in range(TURNS)]
    about = {"model": Path(model or "acorn").name, "turns": TURNS}
    for name in PLAYED:
        rates = {
            threads: {key: median(read(turn[threads][name]) for turn in turns) for key, read in READINGS.items()}
            for threads in counts
        }
        for threads, told in rates.items():
            over = {f"{key}_ratio": round(rate / rates[counts[0]][key], 2) for key, rate in told.items()}
            told = {key: round(rate, 2) for key, rate in told.items()}
            report("scaling", **about, workload=name, threads=threads, **told, **over)


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = words.pop(0) if words and not words[0].isdigit() else None
    main(folder, [int(word) for word in words] or [1, 2])
