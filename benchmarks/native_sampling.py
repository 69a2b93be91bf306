"""How near is the draw of tokens to reading the logits once, and how far from plain torch?

    python -m benchmarks.native_sampling [threads] [kernels]

One line for each wish, vocabulary and number of rows: microseconds of the native ops and of the sampler in plain torch
(medians), and what one read of the logits takes at the bandwidth of the same run, which a cache can undercut.
"""

import sys
from collections.abc import Callable
from statistics import median
from typing import cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.facts import report
from benchmarks.native_ops import read_gigabytes_per_second, seconds
from stemma.core.config.device import runnable
from stemma.core.config.engine import Kernels
from stemma.core.config.machine import probe
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Masks, Seat, StepPlan, pack_spans
from stemma.core.types.tokens import pack
from stemma.device.ops.cpu.library import Library, load
from stemma.device.ops.cpu.sampling import ASK, WANT, Records, sample, score
from stemma.device.ops.inputs import Places
from stemma.device.ops.reference.inputs import inputs
from stemma.device.worker.rows import RowTable
from stemma.device.worker.sampler import TorchSampler

GREEDY = SamplingParams(temperature=0.0)
WISHES = {
    "greedy": (GREEDY, 0),
    "plain draw": (SamplingParams(), 0),
    "top_p": (SamplingParams(temperature=0.8, top_p=0.9), 0),
    "top_k": (SamplingParams(temperature=0.8, top_k=50), 0),
    "penalties": (SamplingParams(temperature=0.0, frequency_penalty=0.5, repetition_penalty=1.1), 0),
    "5 logprobs": (GREEDY, 5),
}
DEVIATIONS = {"peaked": 4.0, "flat": 0.5}  # of the logits
PROMPT, OUTPUT = 16, 500


def seated(rows: int, vocab: int, sampling: SamplingParams, top: int) -> tuple[RowTable, Places]:
    """Rows that have said something, and the place where each goes on."""
    table, length = RowTable(rows, PROMPT + OUTPUT, 1, vocab), PROMPT + OUTPUT
    tokens = np.random.default_rng(0).integers(0, vocab, (rows, length))
    seats = tuple(
        Seat(
            row=row,
            tokens=pack(tokens[row].tolist()),
            prompt_len=PROMPT,
            pages=tuple(range(length)),
            sampling=sampling,
            logprobs=LogprobSpec(top=top) if top else None,
        )
        for row in range(rows)
    )
    spans = pack_spans(word for row in range(rows) for word in (row, 0, length, 1))
    table.apply(StepPlan(step=0, seats=seats, spans=spans))
    return table, inputs(table.tables, rows * length).read(spans).drawn


def told(table: RowTable, rows: int, sampling: SamplingParams, top: int) -> tuple[Records, Records]:
    asks, wants = np.zeros(rows, ASK), np.zeros(rows, WANT)
    asks["tokens"] = [table[row].tokens.ctypes.data for row in range(rows)]
    asks["seed"] = wants["row"] = np.arange(rows)
    asks["prompt_len"], asks["position"] = PROMPT, PROMPT + OUTPUT
    asks["divisor"], asks["top_k"], asks["top_p"] = sampling.divisor, sampling.top_k, sampling.top_p
    asks["frequency"], asks["repetition"] = sampling.frequency_penalty, sampling.repetition_penalty
    asks["greedy"], asks["scored"], wants["top"] = sampling.is_greedy, top > 0, top
    return asks, wants


def native(library: Library, logits: Tensor, asks: Records, wants: Records) -> None:
    drawn = sample(library, logits, asks)
    if asks["scored"].any():
        score(library, logits, drawn.tokens_S, wants)


def timed(work: Callable[[Tensor], object], logits: Tensor, awake: Callable[[], object], runs: int) -> float:
    """Median seconds. The threads are awake, as behind another op, and the logits are fresh."""
    used, found = torch.empty_like(logits), []
    for _ in range(runs):
        used.copy_(logits)
        awake()
        found.append(seconds(lambda: work(used)))
    return median(found)


def main(threads: int, kernels: Kernels) -> None:
    torch.set_num_threads(threads)
    library, bandwidth = load(kernels), read_gigabytes_per_second()
    small, asks_of_small = torch.zeros(4, 40_000), np.zeros(4, ASK)
    asks_of_small["greedy"] = True
    asks_of_small["repetition"] = 1
    for vocab in (2048, 151_936):
        for rows in (1, 32):
            for shape, deviation in DEVIATIONS.items():
                logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(rows)) * deviation
                for wish, (sampling, top) in WISHES.items():
                    table, places = seated(rows, vocab, sampling, top)
                    asks, wants = told(table, rows, sampling, top)
                    plain = TorchSampler(table, seed=0)
                    ours, theirs = (
                        timed(work, logits, lambda: sample(library, small, asks_of_small), runs)
                        for work, runs in (
                            (lambda used: native(library, used, asks, wants), 15),  # noqa: B023
                            (lambda used: plain.drawn(places, used, Masks()), 3),  # noqa: B023
                        )
                    )
                    report(
                        "native_sampling",
                        wish=wish,
                        logits=shape,
                        kernels=kernels,
                        threads=threads,
                        rows=rows,
                        vocabulary=vocab,
                        native_us=round(ours * 1e6, 1),
                        torch_us=round(theirs * 1e6, 1),
                        one_read_us=round(logits.nbytes / bandwidth / 1e3, 1),
                    )


if __name__ == "__main__":
    best = runnable(probe())[0]
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2, cast(Kernels, sys.argv[2]) if len(sys.argv) > 2 else best)
