"""How near are native products to the machine's limit, and how far from plain torch? Shapes of Qwen3-0.6B, bfloat16.

    python -m benchmarks.native_ops [threads] [kernels]

One line for each format of weights, shape and number of rows: bytes of the matrix, milliseconds (medians of alternated
runs; plain torch computes in bfloat16), and the read bandwidth of the same run.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import cast, get_args

import torch
from torch import Tensor

from benchmarks.facts import report
from stemma.core.config.device import runnable
from stemma.core.config.engine import Kernels
from stemma.core.config.machine import probe
from stemma.core.config.quant import Format
from stemma.device.ops.matrix import Matrix, empty_matrix
from stemma.device.ops.table import Ops, ops_of

SHAPES = {"qkv": (4096, 1024), "output": (1024, 2048), "gate_up": (6144, 1024), "down": (1024, 3072)}
LAYERS = 12  # more than any cache holds
ROWS = (1, 4, 32, 512)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def applied(ops: Ops, x: Tensor, matrices: Sequence[Matrix]) -> float:
    """Seconds for all matrices, one after the other."""
    return seconds(lambda: [ops.linear(x, matrix, None) for matrix in matrices])


def laid(ops: Ops, format: Format, weight: Tensor) -> Matrix:
    outputs, inputs = weight.shape
    matrix = empty_matrix(format, outputs, inputs, weight.dtype)
    ops.lay(matrix, 0, weight)
    return matrix


def read_gigabytes_per_second() -> float:
    large = torch.ones(1 << 27)
    return large.nbytes / min(seconds(large.sum) for _ in range(5)) / 1e9


def main(threads: int, kernels: Kernels) -> None:
    torch.set_num_threads(threads)
    native, plain = ops_of(kernels), ops_of("reference")
    bandwidth = read_gigabytes_per_second()
    for name, shape in SHAPES.items():
        weights = [torch.randn(shape).bfloat16() for _ in range(LAYERS)]
        torchs = [laid(plain, "plain", weight) for weight in weights]
        ours = {format: [laid(native, format, weight) for weight in weights] for format in get_args(Format)}
        for rows in ROWS:
            x = torch.randn(rows, shape[1]).bfloat16()
            runs = [
                [applied(plain, x, torchs), *(applied(native, x, matrices) for matrices in ours.values())]
                for _ in range(3 if rows > 32 else 7)
            ]
            theirs, *each = (median(column) / LAYERS for column in zip(*runs, strict=True))
            for (format, matrices), took in zip(ours.items(), each, strict=True):
                report(
                    "native_ops",
                    op=f"linear {name}",
                    format=format,
                    kernels=kernels,
                    threads=threads,
                    rows=rows,
                    megabytes=round(matrices[0].store.nbytes / 1e6, 2),
                    native_ms=round(took * 1e3, 3),
                    torch_ms=round(theirs * 1e3, 3),
                    gigabytes_per_second=round(matrices[0].store.nbytes / took / 1e9, 1),
                    read_limit=round(bandwidth, 1),
                    gigaflops=round(2 * rows * shape[0] * shape[1] / took / 1e9),
                )


if __name__ == "__main__":
    best = runnable(probe())[0]
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, cast(Kernels, sys.argv[2]) if len(sys.argv) > 2 else best)
