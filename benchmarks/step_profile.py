"""Where does a step's time go, native call by native call?

    python -m benchmarks.step_profile [--rows 1 32] [--prompt 256] [any option of `stemma serve`]

Steps are those of a real engine whose rows draw greedily; between the calls of their recordings a clock is read, which
adds some 30 ns to each. One JSON line for each op and each part around them; medians over the steps in which all rows
decode, and over the largest steps of prompts.

- calls, us, share: how often a step makes the call, what all of these take, and their part of the whole step
- megabytes: what they read at least once of weights, or of keys and values; gigabytes_per_second: that over their time,
  beside the `read_limit` of this run: a large array's, which what fits into a cache may exceed
- gigaflops: the rate of products
- `around the step` is all outside of the worker, `around the ops` what the worker does beside its native calls
"""

import ctypes
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.engine_speed import Bench, bench_of, options_of
from benchmarks.facts import report
from benchmarks.host_path import Stopwatch
from benchmarks.native_ops import read_gigabytes_per_second
from stemma.core.config.machine import find_compiler
from stemma.core.config.model import kv_bytes_per_token
from stemma.core.types.step import unpack_spans
from stemma.device.attention.backend import AttentionPlan, Spans
from stemma.device.ops.cpu.library import Function, Library, load
from stemma.device.ops.cpu.record import Recording
from stemma.device.worker.passes import RecordedPasses

BYTES_OF_WEIGHT = {"plain_float32": 4.0, "plain_bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
OUTPUT = 100
ROUNDS = 4


class Op(NamedTuple):
    """A native function of a recording; `weights` are the numbers of its matrix."""

    name: str
    weights: int = 0

    def bytes(self, cached: float) -> float:
        """Read at least once, where a layer's keys and values are `cached` bytes."""
        if self.name.startswith("attend"):
            return cached
        return self.weights * next((size for format, size in BYTES_OF_WEIGHT.items() if format in self.name), 0)


class Times(NamedTuple):
    """Microseconds of one step by op and by part."""

    tokens: int
    rows: int
    cached: float  # bytes of keys and values of a layer that its rows look at
    ops: dict[Op, float]
    parts: dict[str, float]


class Stamped:
    """A recording that reads a clock between its calls."""

    def __init__(self, recording: Recording, functions: dict[int, Function], stamp: int):
        words, made = recording._words.tolist(), [stamp, 1, 0]
        self.ops: list[Op] = []
        self._stamps = [2]
        moved: dict[int, int] = {}
        at = 0
        while at < len(words):
            size = 2 + words[at + 1]
            self.ops.append(op_of(functions[words[at]], words[at + 2 : at + size]))
            moved |= {at + word: len(made) + word for word in range(size)}
            made += [*words[at : at + size], stamp, 1, 0]
            self._stamps.append(len(made) - 1)
            at += size
        recording._words = self._words = torch.tensor(made)
        recording._patches = torch.tensor([(moved[word], *patch) for word, *patch in recording._patches.tolist()])

    def microseconds(self) -> list[float]:
        """Of each call of the last replay."""
        return [float(took) / 1e3 for took in self._words[self._stamps].diff()]


def op_of(function: Function, arguments: list[int]) -> Op:
    if not function.name.startswith(("linear", "logits")):
        return Op(function.name)
    inputs, outputs = (bits for kind, bits in zip(function.kinds, arguments, strict=True) if kind == "n")
    return Op(f"{function.name} {inputs}x{outputs}", inputs * outputs)


def functions_of(library: Library) -> dict[int, Function]:
    """Those that can be recorded, by the address that a recording knows them by."""
    groups = [group if isinstance(group, dict) else {"": group} for group in vars(library).values()]
    held = [each for group in groups for each in group.values() if isinstance(each, Function)]
    return {each.replayed: each for each in held if hasattr(library.opened, f"{each.name}_replayed")}


def stamp_in(folder: str) -> ctypes.CDLL:
    target, source = Path(folder, "stamp.so"), Path(__file__).with_name("stamp.cpp")
    subprocess.run([find_compiler() or "c++", "-O2", "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def steps_of(bench: Bench, rows: int, prompt: int, recordings: list[Stamped]) -> list[Times]:
    watch, found, seen = Stopwatch(), [], Spans(b"", np.empty((0, 0), np.int64))
    worker, loop, model = bench.worker, bench.loop, bench.config.model
    layer_bytes = kv_bytes_per_token(model, bench.config.device.kv_dtype) / model.layers
    plan = watch.times("attention's plan", worker._attention.plan)

    def planned(spans: Spans) -> AttentionPlan:
        nonlocal seen
        seen = spans
        return plan(spans)

    with ExitStack() as patches:
        for owner, name, part in (
            (worker._reader, "read", "inputs"),
            (worker._reader, "keep", "keep"),
            (worker._sampler, "drawn", "draw"),
            (worker._passes, "forward", "passes"),
            (worker._passes, "logits", "passes"),
            (loop.executor, "_step", "worker"),
        ):
            patches.enter_context(patch.object(owner, name, watch.times(part, getattr(owner, name))))
        patches.enter_context(patch.object(worker._attention, "plan", planned))
        turn = watch.times("step", loop.turn)
        for seed in range(ROUNDS):
            bench.ask(rows, prompt, OUTPUT, seed=seed)
            while bench.is_busy:
                watch.parts = {}
                turn()
                if "passes" not in watch.parts:
                    continue
                ops: dict[Op, float] = defaultdict(float)
                for recording in recordings:
                    for op, took in zip(recording.ops, recording.microseconds(), strict=True):
                        ops[op] += took
                spans = list(unpack_spans(seen.packed))
                cached = layer_bytes * sum(span.start + span.count for span in spans)
                found.append(Times(sum(span.count for span in spans), len(spans), cached, ops, watch.parts))
    return found


def tell(kind: str, steps: list[Times], calls: dict[Op, int], **facts: object) -> None:
    """A line for each op and part, the longest first."""
    tokens, whole = steps[0].tokens, median(step.parts["step"] for step in steps)
    told: dict[Op, float] = {op: median(step.ops[op] for step in steps) for op in steps[0].ops}
    inside = sum(told.values())
    for part in ("inputs", "attention's plan", "draw", "keep"):
        told[Op(part)] = median(step.parts.get(part, 0.0) for step in steps)
    worker = median(step.parts["worker"] for step in steps)
    told[Op("around the ops")] = worker - sum(told.values())
    told[Op("around the step")] = whole - worker
    told[Op("all ops")] = inside
    told[Op("step")] = whole
    cached = median(step.cached for step in steps)
    for op, took in sorted(told.items(), key=lambda each: -each[1]):
        count = calls.get(op, 1)
        rows = steps[0].rows if op.name.startswith("logits") else tokens
        read, flops = op.bytes(cached) * count, 2 * op.weights * rows * count
        rates = {
            "megabytes": round(read / 1e6, 2),
            "gigabytes_per_second": round(read / took / 1e3, 1),
            "gigaflops": round(flops / took / 1e3, 1),
        }
        report(
            "step_profile",
            kind=kind,
            **facts,
            tokens=tokens,
            op=op.name,
            calls=count,
            us=round(took, 1),
            share=round(took / whole, 3),
            **{name: rate for name, rate in rates.items() if rate},
        )


def main() -> None:
    counts, options = options_of(sys.argv[1:])
    prompt = int(str(options.pop("prompt", 256)))
    options.setdefault("max_running_requests", max(counts))
    bench = bench_of(options)
    passes = bench.worker._passes
    if not isinstance(passes, RecordedPasses):
        raise SystemExit("steps of this model, or of these kernels, are not recorded")
    device = bench.config.device
    facts = {
        "model": bench.config.model_path.rpartition("/")[2],
        "kernels": device.kernels,
        "threads": device.threads,
        "read_limit": round(read_gigabytes_per_second(), 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        library = stamp_in(folder)
        stamp = ctypes.cast(library.stamp, ctypes.c_void_p).value or 0
        functions = functions_of(load(device.kernels))
        recordings = [Stamped(recording, functions, stamp) for recording in (passes._forward, passes._head)]
        calls: dict[Op, int] = defaultdict(int)
        for op in (op for recording in recordings for op in recording.ops):
            calls[op] += 1
        for rows in counts:
            steps = steps_of(bench, rows, prompt, recordings)
            tell("decode", [step for step in steps if step.tokens == step.rows == rows], calls, rows=rows, **facts)
            most = max(step.tokens for step in steps)
            tell("prompts", [step for step in steps if step.tokens == most], calls, rows=rows, **facts)
    bench.loop.close()


if __name__ == "__main__":
    main()
