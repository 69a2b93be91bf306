"""How a weight of some shape is multiplied: as was measured where a device was tuned, else by reckoning.

`python -m benchmarks.gpu.tune` measures a device and writes its table, tuned/NAME.json. A chunk is part of the order of
summation, so it depends on the weight's shape alone; what a program computes at a time depends on the number of rows.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from msgspec import Struct

from stemma.core.base.numbers import ceil_div, round_up
from stemma.core.config.quant import Format
from stemma.device.ops.triton.launch import is_hopper

TABLES = Path(__file__).parent / "tuned"
DEPTH = 128  # inputs: chunks are multiples of it

# What reckoning knows: not what a device has, but what it is at least worth to a Hopper GPU.
PROGRAMS = 264  # two for each of 132 multiprocessors
_LEAST = 512  # inputs of a chunk: with fewer, adding the sums takes longer than reading the weights


class Shape(NamedTuple):
    """What a program computes, and how."""

    rows: int
    outputs: int
    depth: int  # inputs of a round
    num_warps: int
    num_stages: int  # rounds that are on their way from memory
    is_bulk: bool = False  # copied by the device itself (bulk.py), where rows are laid so and chunks not apart


SHAPES = (  # the first that holds all rows is taken; of the last there are many
    Shape(16, 64, 128, 4, 5),
    Shape(32, 64, 128, 4, 4),
    Shape(64, 64, 128, 4, 3),
    Shape(128, 128, 64, 8, 3),
)
BULK = Shape(128, 128, 64, 8, 4, is_bulk=True)
WIDE_BULK = Shape(128, 256, 64, 8, 4, is_bulk=True)  # of a single chunk, whose sum is the total


class Rule(Struct, frozen=True):
    """Of one weight's shape on one device."""

    chunk: int  # inputs whose products are added together
    shapes: tuple[Shape, ...] = SHAPES
    library_rows: int = 256  # from so many rows on torch's own product is faster, where bits may differ

    def __post_init__(self) -> None:
        if self.chunk % DEPTH or any(DEPTH % shape.depth for shape in self.shapes):
            raise ValueError(f"a chunk of {self.chunk} inputs and rounds of {self.shapes} do not end together")

    def shape(self, rows: int, is_bulk: bool = True) -> Shape:
        """Perhaps none that is copied in bulk."""
        fitting = [shape for shape in self.shapes if is_bulk or not shape.is_bulk]
        return next((shape for shape in fitting if rows <= shape.rows), fitting[-1])


@cache
def rule_of(device: torch.device, format: Format, outputs: int, inputs: int) -> Rule:
    return _table(device).get(key_of(format, outputs, inputs)) or reckoned(device, format, outputs, inputs)


def reckoned(device: torch.device, format: Format, outputs: int, inputs: int) -> Rule:
    chunk = chunk_of(inputs, outputs)
    if format != "plain" or not is_hopper(device):
        return Rule(chunk)
    return Rule(chunk, (*SHAPES, BULK if chunk < inputs else WIDE_BULK))


def key_of(format: Format, outputs: int, inputs: int) -> str:
    """Under which a table has the rule of a weight."""
    return f"{format} {outputs}x{inputs}"


def table_of(device: torch.device) -> Path:
    """Where what was measured on such a device is kept."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return TABLES / f"{name.lower().replace(' ', '-')}.json"


def chunk_of(inputs: int, outputs: int) -> int:
    """By reckoning: as many chunks as keep a small GPU busy with few rows."""
    chunks = min(PROGRAMS // ceil_div(outputs, SHAPES[0].outputs), inputs // _LEAST)
    return round_up(ceil_div(inputs, max(1, chunks)), DEPTH)


@cache
def _table(device: torch.device) -> dict[str, Rule]:
    file = table_of(device)
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Rule]) if file.exists() else {}
