"""Products of many rows, whose blocks the device copies by itself: Hopper's bulk copies (TMA), which take neither
registers nor instructions of the threads that multiply.

The order of summation is that of linear.py, chunks one after the other. A gate and its up are two products of the same
rows of x, so that each of the three is one block of memory.

Shapes: T rows, I inputs, O outputs.
"""

import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from stemma.device.ops.triton.gated import paired
from stemma.device.ops.triton.launch import early, follow
from stemma.device.ops.triton.rules import Rule, Shape

BLOCKS = 8  # blocks of rows that meet the same weights before the next ones are read
_ALIGNED = 16  # bytes


@triton.jit
def block_and_tile(T, tiles: tl.constexpr, ROWS: tl.constexpr, BLOCKS: tl.constexpr):
    """Which rows and which outputs are this program's: neighbours share what they read."""
    group = tl.program_id(0) // (BLOCKS * tiles) * BLOCKS
    within = tl.program_id(0) % (BLOCKS * tiles)
    size = tl.minimum(tl.cdiv(T, ROWS) - group, BLOCKS)
    return group + within % size, within // size


@triton.jit
def _chunk_of(x_TI, weight_OI, t, o, up, begin, end, sum, sum_up, GATED: tl.constexpr, DEPTH: tl.constexpr):
    """The sums and the products of the inputs of a chunk."""
    for i in tl.range(begin, end, DEPTH):
        x = x_TI.load([t, i]).T
        sum = tl.dot(weight_OI.load([o, i]), x, sum)
        if GATED:
            sum_up = tl.dot(weight_OI.load([up, i]), x, sum_up)
    return sum, sum_up


@triton.jit(do_not_specialize=["T"])
def _bulk(
    out_TO, x_TI, weight_OI, bias_O, T, I: tl.constexpr, O: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    ACTIVATION: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, BLOCKS: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """OUTPUTS of an answer; O: all of them."""
    GATED: tl.constexpr = ACTIVATION is not None
    block, tile = block_and_tile(T, (O + OUTPUTS - 1) // OUTPUTS, ROWS, BLOCKS)
    follow(EARLY)
    none = tl.zeros((OUTPUTS, ROWS), tl.float32)
    t, o, total, total_up = block * ROWS, tile * OUTPUTS, none, none
    if CHUNKS == 1:
        total, total_up = _chunk_of(x_TI, weight_OI, t, o, O + o, 0, I, none, none, GATED, DEPTH)
    else:
        for chunk in tl.range(0, CHUNKS):
            end = tl.minimum((chunk + 1) * CHUNK, I)
            sum, sum_up = _chunk_of(x_TI, weight_OI, t, o, O + o, chunk * CHUNK, end, none, none, GATED, DEPTH)
            total += sum
            total_up += sum_up
    o += tl.arange(0, OUTPUTS)
    t += tl.arange(0, ROWS)
    kind: tl.constexpr = out_TO.dtype.element_ty
    if bias_O is not None:
        total += tl.load(bias_O + o, mask=o < O, other=0).to(tl.float32)[:, None]
        if GATED:
            total_up += tl.load(bias_O + O + o, mask=o < O, other=0).to(tl.float32)[:, None]
    if GATED:
        total = paired(total.to(kind), total_up.to(kind), ACTIVATION)
    place = t.to(tl.int64)[None, :] * O + o[:, None]
    tl.store(out_TO + place, total.to(kind), mask=(t < T)[None, :] & (o < O)[:, None])


def can_copy(x_TI: Tensor) -> bool:
    """Whether bulk copies can read these rows."""
    return x_TI.itemsize == 2 and not (x_TI.data_ptr() % _ALIGNED or x_TI.stride(0) * x_TI.itemsize % _ALIGNED)


def bulk_product(
    out_TO: Tensor,
    x_TI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    activation: str | None,
    rule: Rule,
    shape: Shape,
) -> None:
    """Fill `out_TO`. A weight of gates and ups has both of every answer."""
    (rows, inputs), outputs = x_TI.shape, out_TO.shape[1]
    of_each = shape.outputs if activation is None else shape.outputs // 2
    _bulk[(triton.cdiv(outputs, of_each) * triton.cdiv(rows, shape.rows),)](
        out_TO,
        TensorDescriptor.from_tensor(x_TI, [shape.rows, shape.depth]),
        TensorDescriptor.from_tensor(weight_OI, [of_each, shape.depth]),
        bias_O, rows,
        I=inputs, O=outputs, CHUNK=rule.chunk, CHUNKS=triton.cdiv(inputs, rule.chunk), ACTIVATION=activation,
        ROWS=shape.rows, OUTPUTS=of_each, DEPTH=shape.depth, BLOCKS=BLOCKS,
        num_warps=shape.num_warps, num_stages=shape.num_stages, **early(x_TI),
    )  # fmt: skip
