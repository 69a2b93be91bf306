"""Matrix products in one order of summation, whatever the number of rows.

The inputs are cut into chunks at places that depend on the shape of the weight alone. The products of a chunk are
added one instruction after the other, from zero; the sums of chunks are added in ascending order. Few rows leave
multiprocessors idle, so there each chunk is a program of its own, and whoever comes last adds the sums. Many rows fill
the device, and a program walks through all chunks. The bits are the same, since the weights are the rows of the matrix
instruction and x its columns: how many columns there are changes no column.

Shapes: T rows, I inputs, O outputs, C chunks.
"""

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div, round_up
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.triton.gated import acted
from stemma.device.ops.triton.launch import early, follow, stages

# Both are part of the order of summation: not what a device has, but what it is at least worth to a Hopper GPU.
_PROGRAMS = 264  # two for each of 132 multiprocessors
_LEAST = 512  # inputs of a chunk: with fewer, adding the sums takes longer than reading the weights

_GROUP = 8  # blocks of rows that meet the same weights before the next ones are read


class Shape(NamedTuple):
    """What a program computes, and how."""

    rows: int
    outputs: int
    depth: int  # inputs of a round
    num_warps: int
    num_stages: int  # rounds that are on their way from memory


SHAPES = (  # the first that holds all rows is taken; of the last there are many
    Shape(16, 64, 128, 4, 5),
    Shape(32, 64, 128, 4, 4),
    Shape(64, 64, 128, 4, 3),
    Shape(128, 128, 64, 8, 3),
)


@triton.jit
def round_of(weight, x, inside_T, i, I: tl.constexpr, WHOLE: tl.constexpr, sum):
    """`sum` and the products of some inputs."""
    if WHOLE:
        weights = tl.load(weight, eviction_policy="evict_first")
        xs = tl.load(x, mask=inside_T, other=0)
    else:
        weights = tl.load(weight, mask=(i < I)[None, :], other=0, eviction_policy="evict_first")
        xs = tl.load(x, mask=inside_T & (i < I)[:, None], other=0)
    return tl.dot(weights, xs, sum, input_precision="ieee")


@triton.jit
def _put(out_TO, bias_O, total, o, t, inside_T, tile, O: tl.constexpr, OUTPUTS: tl.constexpr, ACTIVATION: tl.constexpr):
    if bias_O is not None:
        total += tl.load(bias_O + o).to(tl.float32)[:, None]
    kind: tl.constexpr = out_TO.dtype.element_ty
    if ACTIVATION is None:
        place = t.to(tl.int64)[None, :] * O + o[:, None]
        tl.store(out_TO + place, total.to(kind), mask=inside_T & (tile * OUTPUTS + tl.arange(0, OUTPUTS) < O)[:, None])
    else:
        half: tl.constexpr = OUTPUTS // 2
        # Rounded where the reference rounds: as outputs, and before it is multiplied.
        pairs = tl.reshape(total.to(kind).to(tl.float32), (half, 2, total.shape[1]))
        gate, up = tl.split(tl.permute(pairs, (0, 2, 1)))
        gated = acted(gate, ACTIVATION).to(kind).to(tl.float32) * up
        i = tile * half + tl.arange(0, half)
        place = t.to(tl.int64)[None, :] * (O // 2) + i[:, None]
        tl.store(out_TO + place, gated.to(kind), mask=inside_T & (i < O // 2)[:, None])


@triton.jit(do_not_specialize=["T"])
def _product(
    out_TO, sums_CTO, counts, x_TI, weight_OI, bias_O, T, x_stride,
    I: tl.constexpr, O: tl.constexpr, STRIDE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    APART: tl.constexpr, ACTIVATION: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr,
    GROUP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    tiles: tl.constexpr = (O + OUTPUTS - 1) // OUTPUTS
    whole: tl.constexpr = I % DEPTH == 0
    group = tl.program_id(0) // (GROUP * tiles) * GROUP
    within = tl.program_id(0) % (GROUP * tiles)
    size = tl.minimum(tl.cdiv(T, ROWS) - group, GROUP)
    block = group + within % size
    tile = within // size
    t = block * ROWS + tl.arange(0, ROWS)
    o = tile * OUTPUTS + tl.arange(0, OUTPUTS)
    # Outputs behind the last are those of the last: they are not stored.
    if ACTIVATION is None:
        o = tl.minimum(o, O - 1)
    else:  # gates and their ups take turns
        o = tl.minimum(o // 2, O // 2 - 1) + o % 2 * (O // 2)
    d = tl.arange(0, DEPTH)
    inside_T = (t < T)[None, :]
    weight = weight_OI + o.to(tl.int64)[:, None] * STRIDE + d[None, :]
    x = x_TI + t.to(tl.int64)[None, :] * x_stride + d[:, None]
    follow(EARLY)
    total = tl.zeros((OUTPUTS, ROWS), tl.float32)
    if APART:
        chunk = tl.program_id(1)
        for i in tl.range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, I), DEPTH):
            total = round_of(weight + i, x + i, inside_T, i + d, I, whole, total)
    elif CHUNKS == 1:
        for i in tl.range(0, I, DEPTH):
            total = round_of(weight + i, x + i, inside_T, i + d, I, whole, total)
    else:
        for chunk in tl.range(0, CHUNKS):
            sum = tl.zeros((OUTPUTS, ROWS), tl.float32)
            for i in tl.range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, I), DEPTH):
                sum = round_of(weight + i, x + i, inside_T, i + d, I, whole, sum)
            total += sum
    if APART:
        size_TO = T.to(tl.int64) * O
        sums = sums_CTO + t.to(tl.int64)[None, :] * O + o[:, None]
        tl.store(sums + tl.program_id(1) * size_TO, total, mask=inside_T)
        tl.debug_barrier()  # all threads have stored before one of them tells so
        count = counts + block * tiles + tile
        if tl.atomic_add(count, 1) == CHUNKS - 1:
            tl.store(count, 0)  # for the next product
            total = tl.zeros((OUTPUTS, ROWS), tl.float32)
            for other in tl.static_range(CHUNKS):
                total += tl.load(sums + other * size_TO, mask=inside_T, other=0, cache_modifier=".cg")
            _put(out_TO, bias_O, total, o, t, inside_T, tile, O, OUTPUTS, ACTIVATION)
    else:
        _put(out_TO, bias_O, total, o, t, inside_T, tile, O, OUTPUTS, ACTIVATION)


def linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None) -> Tensor:
    """`x @ matrix.T + bias`."""
    return _into(x_TI.new_empty(len(x_TI), matrix.outputs), x_TI, matrix, bias_O, None)


def gated_linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None, activation: str) -> Tensor:
    """`activation(gate) * up` of these outputs: gates first, then as many ups. They never see memory."""
    return _into(x_TI.new_empty(len(x_TI), matrix.outputs // 2), x_TI, matrix, bias_O, activation)


def logits(x_TI: Tensor, matrix: Matrix) -> Tensor:
    """`x @ matrix.T` in float32."""
    return _into(x_TI.new_empty(len(x_TI), matrix.outputs, dtype=torch.float32), x_TI, matrix, None, None)


def plain(matrix: Matrix) -> Tensor:
    """Its rows; outputs and inputs behind the last fill it up."""
    if matrix.format != "plain":
        raise Bug(f"a matrix of {matrix.format} was laid for kernels that read plain ones only")
    return matrix.store.view(matrix.dtype)


def _into(out_TO: Tensor, x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None, activation: str | None) -> Tensor:
    x_TI = x_TI if x_TI.stride(1) == 1 else x_TI.contiguous()
    rows, inputs, outputs = len(x_TI), matrix.inputs, matrix.outputs
    shape = next((shape for shape in SHAPES if rows <= shape.rows), SHAPES[-1])
    chunk = _chunk(inputs, outputs)
    chunks, tiles = ceil_div(inputs, chunk), ceil_div(outputs, shape.outputs) * ceil_div(rows, shape.rows)
    is_apart = _is_apart(chunks, tiles)
    sums_CTO = torch.empty(chunks, rows, outputs, dtype=torch.float32, device=x_TI.device) if is_apart else None
    weight_OI = plain(matrix)
    _product[(tiles, chunks if is_apart else 1)](
        out_TO,
        sums_CTO,
        _counters(x_TI.device) if is_apart else None,
        x_TI,
        weight_OI,
        bias_O,
        rows,
        x_TI.stride(0),
        I=inputs,
        O=outputs,
        STRIDE=weight_OI.stride(0),
        CHUNK=chunk,
        CHUNKS=chunks,
        APART=is_apart,
        ACTIVATION=activation,
        ROWS=shape.rows,
        OUTPUTS=shape.outputs,
        DEPTH=shape.depth,
        GROUP=_GROUP,
        num_warps=shape.num_warps,
        num_stages=stages(x_TI, shape.num_stages if x_TI.itemsize == 2 else 2),
        **early(x_TI),
    )
    return out_TO


def _chunk(inputs: int, outputs: int) -> int:
    """Inputs whose products are added together: a function of the weight's shape, and of nothing else."""
    chunks = min(_PROGRAMS // ceil_div(outputs, SHAPES[0].outputs), inputs // _LEAST)
    return round_up(ceil_div(inputs, max(1, chunks)), SHAPES[0].depth)


def _is_apart(chunks: int, tiles: int) -> bool:
    """Whether chunks are programs of their own."""
    return chunks > 1 and tiles < _PROGRAMS


@cache
def _counters(device: torch.device) -> Tensor:
    """Zeros that programs count in and leave as zeros. Products of a device run one after the other."""
    return torch.zeros(_PROGRAMS, dtype=torch.int32, device=device)
