"""What a step costs outside the kernels: a real engine loop on a real socket, with a device that only answers.

    python -m benchmarks.host_path [ROWS ...]

Prints one JSON line per number of running rows: median and p99 of microseconds per step, and, of a second run in which
they are timed, the mean of each part. Requests arrive and finish all the time: whoever ends is followed by another at
once, and ends are spread evenly, so that most steps of many rows seat somebody.

- receive: messages from the socket, decoded, checked and queued
- plan: the scheduler's
- inputs: what the worker makes of the plan before its first kernel: rows, pages, positions, slots
- results: drawn tokens to the step's result
- absorb: results to chunks
- send: chunks encoded and handed to the socket
- rest: of the loop itself
"""

import gc
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean, median
from typing import ParamSpec, TypeVar
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.facts import report
from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.config.engine import CacheConfig, ScheduleConfig
from stemma.core.config.families import read_model_spec
from stemma.core.types.control import Chunks, EngineReady, ToEngine
from stemma.core.types.request import Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.step import Masks, StepPlan, StepResult
from stemma.core.types.tokens import pack
from stemma.core.wire.codec import decode_from_engine, encode
from stemma.core.wire.unix import Frames, UnixEngineChannel, framed, new_address
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from stemma.device.ops.inputs import Places
from stemma.device.ops.table import ops_of
from stemma.device.worker.inputs import forward_batch, scored_places
from stemma.device.worker.pending import settled
from stemma.device.worker.rows import RowTable
from stemma.device.worker.sampler import Verdict
from stemma.engine.executor import LocalExecutor
from stemma.engine.inbox import Inbox
from stemma.engine.loop import EngineLoop
from stemma.engine.outbox import Outbox
from stemma.engine.pace import Pace
from tests.checkpoints import tiny_checkpoint

CONTEXT = 4096
PAGE_SIZE = 16
PROMPT = 100
OUTPUT = 256
VOCAB_SIZE = 32_000
STEP_TOKENS = 8192
STEPS = 2000
PARTS = ("receive", "plan", "inputs", "results", "absorb", "send")

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Stopwatch:
    """Microseconds of one step by part: of those that are wanted, or all. To time one costs a microsecond itself."""

    def __init__(self, wanted: Collection[str] | None = None) -> None:
        self.parts: dict[str, float] = {}
        self._wanted = wanted

    def times(self, part: str, call: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
        if self._wanted is not None and part not in self._wanted:
            return call

        def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.parts[part] = self.parts.get(part, 0.0) + (time.perf_counter() - began) * 1e6

        return timed


def front(address: str, rows: int, read: Connection, core: int) -> None:
    """The other end, in a process of its own: as many requests as there are rows, each followed by another.

    Says through the pipe how many tokens the last step told, when it has asked anew for everybody who ended.
    """

    def ask(output: int) -> None:
        asked = next(numbers)
        prompt = pack((asked * 7919 + position * 31) % VOCAB_SIZE for position in range(PROMPT))
        sampling = SamplingParams(max_new_tokens=output, ignore_eos=True, temperature=0.7, sampling_seed=asked)
        message: ToEngine = Request(id=f"{asked:032x}", tokens=prompt, sampling=sampling)
        door.sendall(framed(encode(message)))

    os.sched_setaffinity(0, {core})
    numbers, frames = count(), Frames()
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address)
        door.sendall(framed(b"0"))
        for number in range(rows):  # the first ones differ in length, so that ends are spread
            ask(1 + (number + 1) * OUTPUT // rows)
        while part := received(door):
            for body in frames.cut(part):
                message = decode_from_engine(body)
                assert isinstance(message, Chunks)
                chunks = list(message.every())
                for chunk in chunks:
                    assert chunk.finish is None or chunk.finish.reason == "length", chunk.finish
                    if chunk.finish is not None:
                        ask(OUTPUT)
                read.send(sum(len(chunk.tokens) for chunk in chunks))


def received(door: socket.socket) -> bytes:
    """Nothing when the engine has ended."""
    with suppress(ConnectionResetError):
        return door.recv(1 << 16)
    return b""


class Device:
    """The worker's side of a plan without the model: a token for every row that asks for one."""

    def __init__(self, folder: Path, rows: int, cache: CacheConfig, watch: Stopwatch):
        spec = read_model_spec(folder)
        pool = KVPool(spec, cache.pages, cache.page_size, torch.bfloat16)
        self._attention = ATTENTION["paged"](spec, pool, "portable")
        self._rows = RowTable(rows, CONTEXT, cache.page_size, VOCAB_SIZE)
        self._reader = ops_of("portable").inputs(self._rows.tables, STEP_TOKENS)
        self._inputs = watch.times("inputs", self._inputs_of)
        self._answer = watch.times("device", self._answer_to)
        self._results = watch.times("results", self._results_of)

    def step(self, plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
        return self._results(plan, self._answer(self._inputs(plan)))

    def _inputs_of(self, plan: StepPlan) -> Places:
        self._rows.apply(plan)
        inputs = self._reader.read(plan.spans)
        forward_batch(inputs, plan, self._rows, self._attention)
        scored_places(plan, self._rows)
        return inputs.drawn

    def _answer_to(self, drawn: Places) -> Verdict:
        places = len(drawn.row_S)
        return Verdict(drawn, torch.full((places,), 5), torch.ones(places, dtype=torch.bool))

    def _results_of(self, plan: StepPlan, verdict: Verdict) -> StepResult:
        tokens, findings = settled(self._reader.keep([verdict.tokens_S]), [verdict], [])
        return StepResult(step=plan.step, tokens=tokens, findings=findings)


def steps_us(rows: int, folder: Path, wanted: Collection[str] | None) -> list[dict[str, float]]:
    """Microseconds by part of steps with `rows` running rows."""
    cache = CacheConfig(pages=(rows + 1) * (2 + (PROMPT + OUTPUT) // PAGE_SIZE), page_size=PAGE_SIZE)
    limits = ScheduleConfig(max_running=rows, max_queued=None, step_tokens=STEP_TOKENS)
    scheduler = Scheduler(cache, limits, context=CONTEXT, vocab_size=VOCAB_SIZE, stop_ids=(2,))
    ready = EngineReady(context=CONTEXT, max_total_tokens=CONTEXT, page_size=PAGE_SIZE, vocab_size=VOCAB_SIZE)
    watch = Stopwatch(wanted)
    address = new_address()
    channel = UnixEngineChannel(address)
    outbox, pace = Outbox(channel), Pace()
    inbox = Inbox(channel, scheduler, outbox, pace, ready)
    loop = EngineLoop(scheduler, LocalExecutor(Device(folder, rows, cache, watch).step, 1), inbox, outbox, pace, 1)
    spawn = get_context("spawn")
    told, read = spawn.Pipe(duplex=False)
    cores = sorted(os.sched_getaffinity(0))
    reader = spawn.Process(target=front, args=(address, rows, read, cores[-1]), daemon=True)
    reader.start()
    while len(scheduler.queue) < rows:  # all of them, before the front has anything to read: it writes first
        inbox.drain(wait=True)
    os.sched_setaffinity(0, cores[:1])  # else the reader may take the core away in the midst of a step
    took: list[dict[str, float]] = []
    gc.collect()
    gc.freeze()  # as the engine's process does
    with (
        torch.inference_mode(),
        patch.object(inbox, "drain", watch.times("receive", inbox.drain)),
        patch.object(scheduler, "plan", watch.times("plan", scheduler.plan)),
        patch.object(scheduler, "absorb", watch.times("absorb", scheduler.absorb)),
        patch.object(outbox, "send", watch.times("send", outbox.send)),
    ):
        turn = watch.times("step", loop.turn)
        while len(took) < STEPS:  # as the loop's `run`
            watch.parts = {}
            turn()
            if "device" in watch.parts and told.recv() == rows:
                took.append(watch.parts)
    channel.close()
    reader.join()
    os.sched_setaffinity(0, cores)
    return took


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = tiny_checkpoint(Path(name), "LlamaForCausalLM")
        for rows in map(int, sys.argv[1:] or (1, 32, 256)):
            totals = [parts["step"] - parts["device"] for parts in steps_us(rows, folder, ("step", "device"))]
            watched = steps_us(rows, folder, None)
            means = {part: fmean(parts.get(part, 0.0) for parts in watched) for part in ("step", "device", *PARTS)}
            rest = 2 * means["step"] - sum(means.values())  # of the step, what is in no part
            report(
                "host_path",
                rows=rows,
                unit="microseconds per step",
                median=round(median(totals), 1),
                p99=round(float(np.percentile(totals, 99)), 1),
                mean={part: round(means[part], 1) for part in PARTS},
                rest=round(rest, 1),
            )


if __name__ == "__main__":
    main()
