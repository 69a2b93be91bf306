"""Rows of tables and of steps, copied.

Shapes: T tokens, S some of a step's rows, D the width of a row.
"""

import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.matrix import Matrix
from stemma.device.ops.triton.launch import early, follow
from stemma.device.ops.triton.linear import plain
from stemma.device.ops.triton.quantised import table_rows

_BLOCK = 1024


@triton.jit
def _rows(out_SD, table_XD, places_S, stride, D: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    follow(EARLY)
    place = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source = tl.load(places_S + place).to(tl.int64) * stride
    tl.store(out_SD + place * D + d, tl.load(table_XD + source + d, mask=d < D), mask=d < D)


def take(x_TD: Tensor, places_S: Tensor) -> Tensor:
    """The rows of `x` at these places."""
    width = x_TD.shape[1]
    out_SD = x_TD.new_empty(len(places_S), width)
    block = min(_BLOCK, triton.next_power_of_2(width))
    grid = (len(places_S), triton.cdiv(width, block))
    _rows[grid](out_SD, x_TD, places_S, x_TD.stride(0), D=width, BLOCK=block, **early(x_TD))
    return out_SD


def embed(tokens_T: Tensor, table: Matrix) -> Tensor:
    """The table's rows for these tokens."""
    if table.format != "plain":
        return table_rows(tokens_T, table)
    return take(plain(table)[:, : table.inputs], tokens_T)
