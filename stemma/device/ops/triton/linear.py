"""Matrix products in one order of summation, whatever the number of rows.

The inputs are cut into chunks at places that depend on the shape of the weight alone. The products of a chunk are
added one instruction after the other, from zero; the sums of chunks are added in ascending order. Few rows leave
multiprocessors idle, so there each chunk is a program of its own, and whoever comes last adds the sums. Many rows fill
the device, and a program walks through all chunks. The bits are the same, since the weights are the rows of the matrix
instruction and x its columns: how many columns there are changes no column.

Shapes: T rows, I inputs, O outputs, C chunks.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div, round_up
from stemma.core.config.quant import GROUP
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.triton.bulk import BLOCKS, block_and_tile, bulk_product, can_copy
from stemma.device.ops.triton.gated import paired
from stemma.device.ops.triton.launch import early, follow, read_ahead, stages
from stemma.device.ops.triton.quantised import parts, quantise
from stemma.device.ops.triton.rules import PROGRAMS, Rule, rule_of

_AHEAD = tl.constexpr(1024)  # bytes of each output's weights: more would not come before they are read


@triton.jit
def round_of(weight, x, inside_T, i, I: tl.constexpr, WHOLE: tl.constexpr, sum):
    """`sum` and the products of some inputs."""
    if WHOLE:
        weights = tl.load(weight, eviction_policy="evict_first")
        xs = tl.load(x, mask=inside_T, other=0)
    else:
        weights = tl.load(weight, mask=(i < I)[None, :], other=0, eviction_policy="evict_first")
        xs = tl.load(x, mask=inside_T & (i < I)[:, None], other=0)
    return tl.dot(weights, xs, sum, input_precision="ieee", out_dtype=sum.dtype)


@triton.jit
def _round_of_int4(
    numbers, levels, x, inside_T, i, I: tl.constexpr, B: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, sum
):
    """`sum` and the products of DEPTH inputs, at most 128.

    A level times a number is at most 1016, which float16 has exactly; 128 products with at most 127 stay below 2^24,
    which float32 has.
    """
    GROUPS: tl.constexpr = DEPTH // 32
    h = tl.arange(0, DEPTH // 2)
    g = tl.arange(0, GROUPS)
    first = h // 16 * 32 + h % 16  # input of a byte's lower half
    numbers += (i // 2 + h)[None, :]
    levels += (i // 32 + g)[None, :]
    is_x = inside_T
    if I % DEPTH == 0:
        pairs, level = tl.load(numbers, eviction_policy="evict_first"), tl.load(levels)
    else:
        pairs = tl.load(numbers, mask=(i // 2 + h < B)[None, :], other=0)
        level = tl.load(levels, mask=(i // 32 + g < B // 16)[None, :], other=0)
        is_x = inside_T & (i + first < 2 * B)[:, None]
    level = tl.broadcast_to(level.to(tl.float16)[:, :, None], (OUTPUTS, GROUPS, 16))
    level = tl.reshape(level, (OUTPUTS, DEPTH // 2))
    low = tl.load(x + (i + first)[:, None], mask=is_x, other=0).to(tl.float16)
    high = tl.load(x + (i + first + 16)[:, None], mask=is_x, other=0).to(tl.float16)
    none = tl.zeros(sum.shape, tl.float32)
    some = tl.dot(((pairs & 15) - 8).to(tl.float16) * level, low, none, input_precision="ieee")
    some = tl.dot((((pairs >> 4) & 15) - 8).to(tl.float16) * level, high, some, input_precision="ieee")
    return sum + some.to(tl.int32)


@triton.jit
def _chunk_of(
    weight, levels, x, inside_T, begin, end, d, sum, I: tl.constexpr, STRIDE: tl.constexpr, FORMAT: tl.constexpr,
    OUTPUTS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """`sum` and the products of the inputs of a chunk."""
    for i in tl.range(begin, end, DEPTH):
        if FORMAT == "int4":
            sum = _round_of_int4(weight, levels, x, inside_T, i, I, STRIDE, OUTPUTS, DEPTH, sum)
        else:
            sum = round_of(weight + i, x + i, inside_T, i + d, I, I % DEPTH == 0, sum)
    return sum


@triton.jit
def _ask_ahead(weight_OI, o, begin, STRIDE: tl.constexpr, FORMAT: tl.constexpr):
    """Have the first weights on their way while the kernel ahead still runs: no kernel writes them."""
    BYTES: tl.constexpr = weight_OI.dtype.element_ty.primitive_bitwidth // 8
    if STRIDE * BYTES % 16 == 0:
        first = begin // 2 if FORMAT == "int4" else begin
        read_ahead(weight_OI + o.to(tl.int64) * STRIDE + first, tl.minimum((STRIDE - first) * BYTES, _AHEAD))


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
        pairs = tl.reshape(total.to(kind).to(tl.float32), (half, 2, total.shape[1]))
        gate, up = tl.split(tl.permute(pairs, (0, 2, 1)))
        gated = paired(gate.to(kind), up.to(kind), ACTIVATION)
        i = tile * half + tl.arange(0, half)
        place = t.to(tl.int64)[None, :] * (O // 2) + i[:, None]
        tl.store(out_TO + place, gated.to(kind), mask=inside_T & (i < O // 2)[:, None])


@triton.jit
def _scaled(total, scales_O, x_TI, o, t, x_stride, T, PADDED: tl.constexpr, FORMAT: tl.constexpr):
    """Sums of integers as what they stand for."""
    if FORMAT == "plain":
        return total
    else:
        row_T = (x_TI + t.to(tl.int64) * x_stride + PADDED).to(tl.pointer_type(tl.float32))
        return total.to(tl.float32) * tl.load(scales_O + o)[:, None] * tl.load(row_T, mask=t < T, other=0)[None, :]


@triton.jit(do_not_specialize=["T"])
def _product(
    out_TO, sums_CTO, counts, x_TI, weight_OI, levels_OG, scales_O, bias_O, T, x_stride,
    I: tl.constexpr, O: tl.constexpr, STRIDE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    APART: tl.constexpr, ACTIVATION: tl.constexpr, FORMAT: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, BLOCKS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    tiles: tl.constexpr = (O + OUTPUTS - 1) // OUTPUTS
    KIND: tl.constexpr = tl.float32 if FORMAT == "plain" else tl.int32
    block, tile = block_and_tile(T, tiles, ROWS, BLOCKS)
    t = block * ROWS + tl.arange(0, ROWS)
    o = tile * OUTPUTS + tl.arange(0, OUTPUTS)
    # Outputs behind the last are those of the last: they are not stored.
    if ACTIVATION is None:
        o = tl.minimum(o, O - 1)
    else:  # gates and their ups take turns
        o = tl.minimum(o // 2, O // 2 - 1) + o % 2 * (O // 2)
    d = tl.arange(0, DEPTH)
    inside_T = (t < T)[None, :]
    weight = weight_OI + o.to(tl.int64)[:, None] * STRIDE
    x = x_TI + t.to(tl.int64)[None, :] * x_stride
    levels = weight
    if FORMAT == "int4":
        levels = levels_OG + o.to(tl.int64)[:, None] * (STRIDE // 16)
    else:
        weight += d[None, :]
        x += d[:, None]
    begin = tl.program_id(1) * CHUNK  # 0 unless chunks are apart
    if EARLY:
        _ask_ahead(weight_OI, o, begin, STRIDE, FORMAT)
    follow(EARLY)
    total = tl.zeros((OUTPUTS, ROWS), KIND)
    if APART or CHUNKS == 1:
        end = tl.minimum(begin + CHUNK, I)
        total = _chunk_of(weight, levels, x, inside_T, begin, end, d, total, I, STRIDE, FORMAT, OUTPUTS, DEPTH)
    else:
        for chunk in tl.range(0, CHUNKS):
            sum = tl.zeros((OUTPUTS, ROWS), KIND)
            end = tl.minimum((chunk + 1) * CHUNK, I)
            total += _chunk_of(
                weight, levels, x, inside_T, chunk * CHUNK, end, d, sum, I, STRIDE, FORMAT, OUTPUTS, DEPTH
            )
    if APART:
        size_TO = T.to(tl.int64) * O
        sums = sums_CTO + t.to(tl.int64)[None, :] * O + o[:, None]
        tl.store(sums + tl.program_id(1) * size_TO, total, mask=inside_T)
        tl.debug_barrier()  # all threads have stored before one of them tells so
        count = counts + block * tiles + tile
        if tl.atomic_add(count, 1) == CHUNKS - 1:
            tl.store(count, 0)  # for the next product
            total = tl.zeros((OUTPUTS, ROWS), KIND)
            for other in tl.static_range(CHUNKS):
                total += tl.load(sums + other * size_TO, mask=inside_T, other=0, cache_modifier=".cg")
            scaled = _scaled(total, scales_O, x_TI, o, t, x_stride, T, PADDED, FORMAT)
            _put(out_TO, bias_O, scaled, o, t, inside_T, tile, O, OUTPUTS, ACTIVATION)
    else:
        scaled = _scaled(total, scales_O, x_TI, o, t, x_stride, T, PADDED, FORMAT)
        _put(out_TO, bias_O, scaled, o, t, inside_T, tile, O, OUTPUTS, ACTIVATION)


def linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None) -> Tensor:
    """`x @ matrix.T + bias`. Rows may be quantised already, if the matrix is."""
    out_TO = x_TI.new_empty(len(x_TI), matrix.outputs, dtype=matrix.dtype)
    return product(out_TO, x_TI, matrix, bias_O, None)


def gated_linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None, activation: str) -> Tensor:
    """`activation(gate) * up` of these outputs: gates first, then as many ups. They never see memory."""
    out_TO = x_TI.new_empty(len(x_TI), matrix.outputs // 2, dtype=matrix.dtype)
    return product(out_TO, x_TI, matrix, bias_O, activation)


def logits(x_TI: Tensor, matrix: Matrix) -> Tensor:
    """`x @ matrix.T` in float32."""
    return product(x_TI.new_empty(len(x_TI), matrix.outputs, dtype=torch.float32), x_TI, matrix, None, None)


def plain(matrix: Matrix) -> Tensor:
    """Its rows; outputs and inputs behind the last fill it up."""
    if matrix.format != "plain":
        raise Bug(f"a matrix of {matrix.format} was given to what reads plain ones only")
    return matrix.store.view(matrix.dtype)


def product(
    out_TO: Tensor,
    x_TI: Tensor,
    matrix: Matrix,
    bias_O: Tensor | None,
    activation: str | None,
    rule: Rule | None = None,
) -> Tensor:
    """Fill `out_TO`, by the rule of this device if no other is given."""
    x_TI = x_TI if x_TI.stride(1) == 1 else x_TI.contiguous()
    rows, inputs, outputs, format = len(x_TI), matrix.inputs, matrix.outputs, matrix.format
    if format == "plain":
        weight_OI, levels_OG, scales_O = plain(matrix), None, None
    else:
        weight_OI, levels_OG, scales_O = parts(matrix)
        x_TI = x_TI if x_TI.dtype == torch.int8 else quantise(x_TI)
    rule = rule or rule_of(x_TI.device, format, outputs, inputs)
    chunks, shape = ceil_div(inputs, rule.chunk), rule.shape(rows)
    tiles = ceil_div(outputs, shape.outputs) * ceil_div(rows, shape.rows)
    if shape.is_bulk:
        if can_copy(x_TI) and can_copy(weight_OI) and not _is_apart(chunks, tiles):
            bulk_product(out_TO, x_TI, weight_OI, bias_O, activation, rule, shape)
            return out_TO
        shape = rule.shape(rows, is_bulk=False)
        tiles = ceil_div(outputs, shape.outputs) * ceil_div(rows, shape.rows)
    is_apart = _is_apart(chunks, tiles)
    sums_CTO = None
    if is_apart:
        kind = torch.float32 if format == "plain" else torch.int32
        sums_CTO = torch.empty(chunks, rows, outputs, dtype=kind, device=x_TI.device)
    _product[(tiles, chunks if is_apart else 1)](
        out_TO, sums_CTO, _counters(x_TI.device) if is_apart else None, x_TI, weight_OI, levels_OG, scales_O, bias_O,
        rows, x_TI.stride(0),
        I=inputs, O=outputs, STRIDE=weight_OI.stride(0), CHUNK=rule.chunk, CHUNKS=chunks, APART=is_apart,
        ACTIVATION=activation, FORMAT=format, PADDED=round_up(inputs, GROUP),
        ROWS=shape.rows, OUTPUTS=shape.outputs, DEPTH=shape.depth, BLOCKS=BLOCKS,
        num_warps=shape.num_warps, num_stages=stages(shape.num_stages if x_TI.itemsize <= 2 else 2),
        enable_fp_fusion=format == "plain",  # quantised products have the reference's bits
        **early(x_TI),
    )  # fmt: skip
    return out_TO


def _is_apart(chunks: int, tiles: int) -> bool:
    """Whether chunks are programs of their own."""
    return chunks > 1 and tiles < PROGRAMS


@cache
def _counters(device: torch.device) -> Tensor:
    """Zeros that programs count in and leave as zeros. Products of a device run one after the other."""
    return torch.zeros(PROGRAMS, dtype=torch.int32, device=device)
