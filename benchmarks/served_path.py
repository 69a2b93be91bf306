"""Where the processors' time goes while a server answers: the engine's threads, the front, and the client.

    python -m benchmarks.served_path [WORKLOAD] [ROUNDS] [OPTION=VALUE ...]    # model_path=FOLDER; else acorn

Prints one JSON line per round of a workload of `stemma bench`, each with other prompts: tokens per second, and the
seconds that each part ran and that it was ready to run while its processor was taken. The engine's caller is the thread
of its loop, which makes the calls of kernels; helpers are those that share its work. `idle` is what is left of all
processors; `others`: what processes took that are no part of this.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.facts import report
from stemma.bench.door import Server, meet
from stemma.bench.load import Load, put
from stemma.bench.numbers import numbers_of
from stemma.bench.timeline import Timeline
from stemma.bench.workload import WORKLOADS
from stemma.cli.child import serving
from stemma.core.base.errors import StemmaError


class Used(NamedTuple):
    """Seconds on a processor, and seconds ready to run without one."""

    ran: float = 0.0
    waited: float = 0.0

    def plus(self, other: "Used", sign: int = 1) -> "Used":
        return Used(self.ran + sign * other.ran, self.waited + sign * other.waited)


class Parts:
    """The processes of a server and this one, which is its client."""

    def __init__(self) -> None:
        everyone = {each.pid: " ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)}
        self._front = next(pid for pid, words in everyone.items() if " serve " in words)
        self._engine = next(pid for pid, words in everyone.items() if "stemma.engine.process" in words)

    def used(self) -> dict[str, Used]:
        engine = threads_of(self._engine)
        caller = engine.pop(self._engine)
        return {
            "caller": caller,
            "helpers": together(engine),
            "front": together(threads_of(self._front)),
            "client": together(threads_of(os.getpid())),
        }


def threads_of(process: int) -> dict[int, Used]:
    found = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        ran, waited, _ = map(int, (task / "schedstat").read_text().split())
        found[int(task.name)] = Used(ran / 1e9, waited / 1e9)
    return found


def together(threads: dict[int, Used]) -> Used:
    whole = Used()
    for each in threads.values():
        whole = whole.plus(each)
    return whole


def busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def play(server: Server, parts: Parts, name: str, seed: int) -> None:
    timelines: list[Timeline] = []

    async def measured() -> tuple[float, float, dict[str, Used]]:
        """Warmed up, and with the seconds of all processors."""
        load = Load(workload=WORKLOADS[name], seed=seed, warmups=0)
        before, busy, began = parts.used(), busy_seconds(), time.perf_counter()
        await put(server, load, timelines, lambda timeline: None)
        wall, busy, after = time.perf_counter() - began, busy_seconds() - busy, parts.used()
        return wall, busy, {part: used.plus(before[part], -1) for part, used in after.items()}

    wall, busy, used = asyncio.run(measured())
    numbers = numbers_of(timelines)
    if numbers.completed < len(timelines):
        raise StemmaError(f"{name}: not every answer came")
    ran = sum(each.ran for each in used.values())
    report(
        "served_path",
        model=Path(str(server.settings.get("model_path"))).name,
        workload=name,
        seed=seed,
        output_tokens_per_second=round(numbers.per_second(numbers.output_tokens), 1),
        ttft_ms=round(numbers.spreads["ttft"].median, 1),
        itl_ms=round(numbers.spreads["itl"].median, 2),
        itl_p99_ms=round(numbers.spreads["itl"].p99, 1),
        wall_seconds=round(wall, 3),
        ran_seconds={part: round(each.ran, 3) for part, each in used.items()},
        waited_seconds={part: round(each.waited, 3) for part, each in used.items()},
        others_seconds=round(busy - ran, 3),
        idle_seconds=round(len(os.sched_getaffinity(0)) * wall - busy, 3),
        front_us_per_token=round(used["front"].ran / numbers.output_tokens * 1e6, 1),
        client_us_per_token=round(used["client"].ran / numbers.output_tokens * 1e6, 1),
    )


def main() -> None:
    words = sys.argv[1:]
    name = words.pop(0) if words and words[0] in WORKLOADS else "serve"
    rounds = int(words.pop(0)) if words and words[0].isdigit() else 3
    with serving(dict(word.split("=", 1) for word in words)) as (url, key):
        server = asyncio.run(meet(url, key, "openai"))
        asyncio.run(put(server, Load(workload=WORKLOADS[name], seed=1), [], lambda timeline: None))
        parts = Parts()
        for seed in range(1000, 1000 + rounds):
            play(server, parts, name, seed)


if __name__ == "__main__":
    main()
