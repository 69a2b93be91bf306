"""How near are the native ops to the machine's limit, and how far from plain torch? Shapes of Qwen3-0.6B, bfloat16.

    python -m benchmarks.native_ops [threads] [kernels]

One line for each op and number of rows: bytes that must be read, milliseconds of both bodies (medians of alternated
runs), and the read bandwidth of the same run.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import cast

import torch
from torch import Tensor

from benchmarks.facts import report
from stemma.core.config.engine import Kernels
from stemma.core.config.machine import probe
from stemma.core.config.resolve import runnable
from stemma.device.ops.table import ops_of

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]

SHAPES = {"qkv": (4096, 1024), "output": (1024, 2048), "gate_up": (6144, 1024), "down": (1024, 3072)}
LAYERS = 12  # more than any cache holds
ROWS = (1, 8, 32, 512)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def applied(linear: Linear, x: Tensor, weights: Sequence[Tensor]) -> float:
    """Seconds for all weights, one after the other."""
    return seconds(lambda: [linear(x, weight, None) for weight in weights])


def read_gigabytes_per_second() -> float:
    large = torch.ones(1 << 27)
    return large.nbytes / min(seconds(large.sum) for _ in range(5)) / 1e9


def main(threads: int, kernels: Kernels) -> None:
    torch.set_num_threads(threads)
    native, plain = ops_of(kernels), ops_of("reference")
    bandwidth = read_gigabytes_per_second()
    for name, shape in SHAPES.items():
        weights = [torch.randn(shape).bfloat16() for _ in range(LAYERS)]
        packed = [native.pack(weight.clone()) for weight in weights]
        for rows in ROWS:
            x = torch.randn(rows, shape[1]).bfloat16()
            runs = [
                (applied(native.linear, x, packed), applied(plain.linear, x, weights))
                for _ in range(3 if rows > 32 else 7)
            ]
            ours, theirs = (median(column) / LAYERS for column in zip(*runs, strict=True))
            report(
                "native_ops",
                op=f"linear {name}",
                kernels=kernels,
                threads=threads,
                rows=rows,
                megabytes=round(weights[0].nbytes / 1e6, 2),
                native_ms=round(ours * 1e3, 3),
                torch_ms=round(theirs * 1e3, 3),
                gigabytes_per_second=round(weights[0].nbytes / ours / 1e9, 1),
                read_limit=round(bandwidth, 1),
                gigaflops=round(2 * rows * shape[0] * shape[1] / ours / 1e9),
            )


if __name__ == "__main__":
    best = runnable(probe())[0]
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, cast(Kernels, sys.argv[2]) if len(sys.argv) > 2 else best)
