"""Which shape of a program multiplies fastest: `python -m benchmarks.gpu.tune [--models MODEL ...] [--minutes 20]`.

For every weight of the models: its chunk, with one row; with that chunk, a shape for each number of rows; and from how
many rows on torch's own product is faster. What is found goes where kernels look for it (ops/triton/tuned), weight by
weight: commit it with its lines of JSON. A chunk changes the bits of answers, a shape does not: candidates differ in
what a program computes at a time, and all of them add up a chunk in one order.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.kernels import BF16, copies
from benchmarks.gpu.stage import Stage, forget, kernel_seconds, tell
from benchmarks.gpu.table import config_of
from benchmarks.gpu.weights import SHAPES as MODELS
from stemma.core.base.numbers import ceil_div, round_up
from stemma.core.config.flags import Parser
from stemma.core.config.model import ModelSpec, matrix_shapes
from stemma.core.config.quant import Format
from stemma.device.ops.matrix import Matrix, empty_matrix
from stemma.device.ops.triton.launch import is_hopper
from stemma.device.ops.triton.linear import product
from stemma.device.ops.triton.quantised import lay
from stemma.device.ops.triton.rules import BULK, DEPTH, SHAPES, WIDE_BULK, Rule, Shape, chunk_of, key_of, table_of

CHUNKS = (1, 2, 3, 4, 6, 8)  # of a weight
CANDIDATES: tuple[tuple[Shape, ...], ...] = (  # for each number of rows; the first is that of reckoning
    (SHAPES[0], Shape(16, 64, 128, 4, 3), Shape(16, 64, 64, 4, 8), Shape(16, 128, 128, 8, 3), Shape(16, 128, 64, 4, 6)),
    (SHAPES[1], Shape(32, 64, 64, 4, 6), Shape(32, 128, 128, 8, 3), Shape(32, 128, 64, 8, 5)),
    (SHAPES[2], Shape(64, 64, 64, 4, 5), Shape(64, 128, 64, 8, 4), Shape(64, 128, 64, 4, 4)),
    (
        SHAPES[3],
        Shape(128, 128, 64, 8, 4),
        Shape(128, 128, 128, 8, 2),
        Shape(128, 64, 64, 4, 4),
        Shape(256, 128, 64, 8, 3),
    ),
)
BULKS = (BULK, WIDE_BULK, Shape(128, 128, 64, 8, 3, True), Shape(256, 128, 64, 8, 3, True))  # of many rows on Hopper
MANY = 4096  # rows of those who are many
LIBRARY = (64, 128, 256, 512, 1024, 2048, 4096)  # rows with which torch's own is timed
NEVER = 1 << 30  # rows

Laid = Sequence[tuple[Matrix, Tensor]]


def tune(stage: Stage, specs: Sequence[ModelSpec], formats: Sequence[Format], ends: float) -> None:
    """Measure weight after weight until the time is over; each one is written as soon as it is known."""
    file = table_of(torch.device(stage.device))
    file.parent.mkdir(exist_ok=True)
    known = msgspec.json.decode(file.read_bytes(), type=dict[str, Rule]) if file.exists() else {}
    with torch.device(stage.device), torch.inference_mode():
        for format, outputs, inputs in _weights(specs, formats):
            if time.monotonic() > ends:
                tell("not begun", weight=key_of(format, outputs, inputs), error="no time left")
                continue
            laid = [_laid(format, outputs, inputs) for _ in range(copies(2 * outputs * inputs))]
            known[key_of(format, outputs, inputs)] = _rule(stage, laid, outputs, inputs)
            file.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(known.items())))))
            forget()


def _weights(specs: Sequence[ModelSpec], formats: Sequence[Format]) -> Iterator[tuple[Format, int, int]]:
    found = dict.fromkeys(shape for spec in specs for shape in matrix_shapes(spec))
    yield from ((format, outputs, inputs) for format in formats for outputs, inputs in found)


def _laid(format: Format, outputs: int, inputs: int) -> tuple[Matrix, Tensor]:
    weight_OI = torch.randn(outputs, inputs, dtype=BF16) / inputs**0.5
    matrix = empty_matrix(format, outputs, inputs, BF16)
    lay(matrix, 0, weight_OI)
    return matrix, weight_OI


def _rule(stage: Stage, laid: Laid, outputs: int, inputs: int) -> Rule:
    format = laid[0][0].format
    first = chunk_of(inputs, outputs)
    chunks = dict.fromkeys((first, *(round_up(ceil_div(inputs, count), DEPTH) for count in CHUNKS)))
    chunk = min(chunks, key=lambda chunk: _seconds(stage, laid, 1, Rule(chunk)))
    shapes, told, before = list[Shape](), dict[int, dict[str, float]](), math.inf
    for candidates in (*CANDIDATES, BULKS) if format == "plain" and is_hopper(laid[0][1].device) else CANDIDATES:
        rows = stage.pick(candidates[0].rows if candidates[0].rows < 128 else MANY, 3)
        seconds = {shape: _seconds(stage, laid, rows, Rule(chunk, (shape,))) for shape in candidates}
        best = min(candidates, key=lambda shape: seconds[shape])
        if not best.is_bulk or seconds[best] < before:
            shapes.append(best)
        before = seconds[best]
        told.setdefault(rows, {}).update(
            {str(tuple(shape)): round(found * 1e6, 2) for shape, found in seconds.items() if found < math.inf}
        )
    rule = Rule(chunk, tuple(shapes), NEVER)
    if format == "plain":
        rule = msgspec.structs.replace(rule, library_rows=_library_rows(stage, laid, rule))
    tell("rule", weight=key_of(format, outputs, inputs), us=told, reckoned_chunk=first, **msgspec.to_builtins(rule))
    return rule


def _library_rows(stage: Stage, laid: Laid, rule: Rule) -> int:
    """From so many rows on torch's own is faster, for all that were tried."""
    found = NEVER
    for rows in sorted(LIBRARY if not stage.is_tiny else LIBRARY[:1], reverse=True):
        x_TI = torch.randn(rows, laid[0][0].inputs, dtype=BF16)
        theirs, _ = kernel_seconds(stage, *(partial(F.linear, x_TI, weight_OI) for _, weight_OI in laid))
        if theirs > _seconds(stage, laid, rows, rule):
            break
        found = rows
    return found


def _seconds(stage: Stage, laid: Laid, rows: int, rule: Rule) -> float:
    """Infinite where it does not fit."""
    x_TI = torch.randn(rows, laid[0][0].inputs, dtype=BF16)
    out_TO = x_TI.new_empty(rows, laid[0][0].outputs)
    try:
        return kernel_seconds(stage, *(partial(product, out_TO, x_TI, each, None, None, rule) for each, _ in laid))[0]
    except Exception as error:  # whatever the compiler or the driver says of a shape that is too large
        tell("does not run", rows=rows, rule=msgspec.to_builtins(rule), error=f"{type(error).__name__}: {error}"[:200])
        return math.inf


def main(argv: Sequence[str]) -> None:
    made = Parser("tune", "python -m benchmarks.gpu.tune [options]", __doc__ or "")
    made.add_argument("--models", nargs="+", choices=list(MODELS), default=["qwen3-0.6b", "qwen3-8b"], metavar="MODEL")
    made.add_argument("--formats", nargs="+", choices=["plain", "int8", "int4"], default=["plain"])
    made.add_argument("--minutes", type=float, default=20.0, metavar="X", help="no weight is begun later (default 20)")
    asked = made.parse(argv)
    specs = [config_of(model).model for model in asked.models]
    tune(Stage(), specs, asked.formats, time.monotonic() + 60 * asked.minutes)


if __name__ == "__main__":
    main(sys.argv[1:])
