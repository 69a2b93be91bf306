"""How many tokens per second the engine makes by itself: a real loop and a real model, without front, socket and text.

    python -m benchmarks.engine_speed [--rows 1 32] [any option of `stemma serve`]

Prints one JSON line per number of rows: tokens per second of the steps in which all rows decode, and microseconds of
such a step by part. All rows draw greedily after prompts of 64 random tokens. Without a model: acorn.

- forward, head, draw: the model's two passes and the sampler, each with what Python does around its native call
- worker: what else the worker does
- host: everything outside of the worker
"""

import random
import sys
from contextlib import ExitStack
from statistics import fmean, median
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.facts import report
from benchmarks.host_path import Stopwatch
from stemma.core.config.ask import ask_from
from stemma.core.config.engine import EngineConfig
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve
from stemma.core.types.control import Chunks, FromEngine, ToEngine
from stemma.core.types.request import Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.tokens import pack
from stemma.device.worker.worker import Worker
from stemma.engine.build import build_loop
from stemma.engine.loop import EngineLoop

PROMPT = 64
OUTPUT = 512
PARTS = ("forward", "head", "draw")


class Memory:
    """A channel whose other end is a list."""

    def __init__(self) -> None:
        self.asked: list[ToEngine] = []
        self.tokens = 0

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        asked, self.asked = self.asked, []
        return asked

    def wake(self) -> None: ...

    def send(self, front: int, message: FromEngine) -> bool:
        assert isinstance(message, Chunks)
        self.tokens += sum(len(chunk.tokens) for chunk in message.every())
        return True

    def close(self) -> None: ...


def options_of(words: list[str]) -> tuple[list[int], dict[str, object]]:
    rows: list[int] = []
    options: dict[str, object] = {}
    words = list(words)
    if "--rows" in words:
        at = words.index("--rows")
        del words[at]
        while at < len(words) and words[at].isdigit():
            rows.append(int(words.pop(at)))
    for name, value in zip(words[::2], words[1::2], strict=True):
        options[name.removeprefix("--").replace("-", "_")] = value
    return rows or [1, 32], options


class Bench(NamedTuple):
    """An engine whose requests and answers stay in this process."""

    config: EngineConfig
    loop: EngineLoop
    channel: Memory
    worker: Worker

    def ask(self, rows: int, prompt: int, output: int, seed: int = 0) -> None:
        """Requests for greedy answers to random tokens."""
        draw = random.Random(seed)
        for number in range(rows):
            tokens = pack(draw.randrange(self.config.model.vocab_size) for _ in range(prompt))
            sampling = SamplingParams(max_new_tokens=output, ignore_eos=True, temperature=0, sampling_seed=number)
            self.channel.asked.append(Request(id=f"{number:032x}", tokens=tokens, sampling=sampling))

    @property
    def is_busy(self) -> bool:
        return bool(self.channel.asked) or self.loop.scheduler.has_work


def bench_of(options: dict[str, object]) -> Bench:
    """With the options of `stemma serve`."""
    config, channel = resolve(ask_from({"log_level": "error", **options}), probe()).engine, Memory()
    workers: list[Worker] = []
    made = Worker.__init__

    def remember(self: Worker, *args: object) -> None:
        made(self, *args)  # type: ignore[arg-type]
        workers.append(self)

    with patch.object(Worker, "__init__", remember):
        loop, _ = build_loop(config, channel)
    return Bench(config, loop, channel, workers[0])


def main() -> None:
    counts, options = options_of(sys.argv[1:])
    options.setdefault("max_running_requests", max(counts))
    bench, watch = bench_of(options), Stopwatch()
    loop, channel, worker = bench.loop, bench.channel, bench.worker
    for rows in counts:
        bench.ask(rows, PROMPT, OUTPUT, seed=rows)
        took = []
        with ExitStack() as patches:
            for owner, name, part in (
                (worker._passes, "forward", "forward"),
                (worker._passes, "logits", "head"),
                (worker._sampler, "drawn", "draw"),
                (loop.executor, "_step", "worker"),
            ):
                patches.enter_context(patch.object(owner, name, watch.times(part, getattr(owner, name))))
            turn = watch.times("step", loop.turn)
            while bench.is_busy:
                watch.parts, before = {}, channel.tokens
                turn()
                if channel.tokens - before == rows:
                    took.append(watch.parts)
        totals = [parts["step"] for parts in took]
        means = {part: fmean(parts[part] for parts in took) for part in (*PARTS, "worker", "step")}
        means["host"] = means.pop("step") - means["worker"]
        means["worker"] -= sum(means[part] for part in PARTS)
        report(
            "engine_speed",
            rows=rows,
            steps=len(took),
            model=bench.config.model_path.rpartition("/")[2],
            tokens_per_second=round(rows * len(took) / sum(totals) * 1e6),
            median_step_us=round(median(totals), 1),
            mean_us={part: round(value, 1) for part, value in means.items()},
        )
    loop.close()


if __name__ == "__main__":
    main()
