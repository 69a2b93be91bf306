"""Matrices of 8 and 4 bits on an accelerator, and rows of 8 bits that meet them: the numbers of ops/reference/int8.py
and int4.py, laid so that a thread reads 16 bytes at a time.

A matrix is its numbers, then its levels, then its scales. Of the 32 numbers of a group of int4, the first half are the
low halves of its bytes. A quantised row is its integers, zeros up to a whole group, its scale in float32, and a gap.

Shapes: T rows, D or I inputs, O outputs (with those that fill it up), N some of them, G groups, B bytes of a row.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, float32, int8

from stemma.core.base.numbers import ceil_div, round_up
from stemma.core.config.quant import GROUP, UNIT_BYTES
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.reference import linear as reference
from stemma.device.ops.triton.launch import early, follow

_GAP = 16  # bytes behind a row's integers: its scale, and what keeps the next row aligned
_SLICE = 4096  # outputs that are laid at a time
_LEAST, _MOST = tl.constexpr(1e-30), tl.constexpr(3e38)  # magnitudes that can be divided by
_ROUND = tl.constexpr(12582912.0)  # adding and taking it away leaves no room for a fraction: ties go to even


class Parts(NamedTuple):
    """A matrix, as its store is laid."""

    numbers_OB: Tensor  # int8; of int4 two in each
    levels_OG: Tensor | None  # int8, of int4
    scales_O: Tensor  # float32


def parts(matrix: Matrix) -> Parts:
    outputs, width = len(matrix.store), round_up(matrix.inputs, UNIT_BYTES)
    groups = 0
    if matrix.format == "int4":
        groups = ceil_div(matrix.inputs, GROUP)
        width = groups * GROUP // 2
    numbers, levels, scales = matrix.store.view(-1).split([outputs * width, outputs * groups, 4 * outputs])
    levels_OG = levels.view(int8).view(outputs, groups) if groups else None
    return Parts(numbers.view(int8).view(outputs, width), levels_OG, scales.view(float32))


def lay(matrix: Matrix, first: int, rows_NI: Tensor) -> None:
    """Put the outputs from `first` on into the matrix, some at a time."""
    if matrix.format == "plain":
        return reference.lay(matrix, first, rows_NI)
    for few in torch.split(rows_NI, _SLICE):
        rows = slice(first, first + len(few))
        laid = Matrix(matrix.format, matrix.dtype, len(few), matrix.inputs, torch.empty_like(matrix.store[rows]))
        reference.lay(laid, 0, few.to(matrix.store.device))
        own, groups = parts(matrix), 0
        if own.levels_OG is not None:
            groups = own.levels_OG.shape[1]
            own.levels_OG[rows] = laid.store[:, -groups - 4 : -4].view(int8)
        own.scales_O[rows] = laid.store[:, -4:].contiguous().view(float32)[:, 0]
        numbers = laid.store[:, : -groups - 4]
        own.numbers_OB[rows] = (_halved(numbers) if groups else numbers).view(int8)
        first += len(few)
    return None


def _halved(pairs_NP: Tensor) -> Tensor:
    """Neighbours in a byte become numbers that are half a group apart."""
    numbers = torch.stack([pairs_NP & 15, pairs_NP >> 4], -1).view(len(pairs_NP), -1, 2, GROUP // 2)
    return (numbers[:, :, 0] | numbers[:, :, 1] << 4).flatten(1)


@triton.jit
def put_row(out_TB, row, x, d, PADDED: tl.constexpr, GAP: tl.constexpr):
    """Keep a row's float32, zeros behind its last, as integers and their scale."""
    most = tl.where(tl.max((x != x).to(tl.int32), 0) > 0, float("nan"), tl.max(tl.abs(x), 0))
    usable = (most >= _LEAST) & (most <= _MOST)
    inverse = tl.where(usable, tl.math.div_rn(127.0, tl.where(usable, most, 1.0)), 0.0)
    whole = x * inverse + _ROUND - _ROUND
    out = out_TB + row * (PADDED + GAP)
    tl.store(out + d, tl.where(whole == whole, whole, 0.0).to(tl.int8), mask=d < PADDED)
    tl.store((out + PADDED).to(tl.pointer_type(tl.float32)), tl.math.div_rn(most, 127.0))


@triton.jit
def _quantise(
    out_TB, x_TI, stride, I: tl.constexpr, PADDED: tl.constexpr, GAP: tl.constexpr, BLOCK: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    put_row(out_TB, row, tl.load(x_TI + row * stride + d, mask=d < I, other=0).to(tl.float32), d, PADDED, GAP)


def empty_rows(rows: int, inputs: int, device: torch.device) -> Tensor:
    return torch.empty(rows, round_up(inputs, GROUP) + _GAP, dtype=int8, device=device)


def row_layout(inputs: int) -> dict[str, int]:
    """What kernels that write such rows are told."""
    return {"PADDED": round_up(inputs, GROUP), "GAP": _GAP, "BLOCK": triton.next_power_of_2(round_up(inputs, GROUP))}


def quantise(x_TI: Tensor) -> Tensor:
    """Rows of floats as rows of 8 bits."""
    rows, inputs = x_TI.shape
    out_TB, layout = empty_rows(rows, inputs, x_TI.device), row_layout(inputs)
    _quantise[(rows,)](
        out_TB,
        x_TI,
        x_TI.stride(0),
        I=inputs,
        num_warps=max(1, min(16, layout["BLOCK"] // 512)),
        enable_fp_fusion=False,
        **layout,
        **early(x_TI),
    )
    return out_TB


@triton.jit
def _table_rows(
    out_TI, numbers_OB, levels_OG, scales_O, tokens_T, I: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    place = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    token = tl.load(tokens_T + place)
    if levels_OG is None:
        numbers = tl.load(numbers_OB + token * WIDTH + i, mask=i < I, other=0).to(tl.int32)
    else:
        pair = tl.load(numbers_OB + token * WIDTH + i // 32 * 16 + i % 16, mask=i < I, other=0).to(tl.int32)
        level = tl.load(levels_OG + token * (WIDTH // 16) + i // 32, mask=i < I, other=0).to(tl.int32)
        numbers = (((pair >> (i // 16 % 2 * 4)) & 15) - 8) * level
    out = numbers.to(tl.float32) * tl.load(scales_O + token)
    tl.store(out_TI + place * I + i, out.to(out_TI.dtype.element_ty), mask=i < I)


def table_rows(tokens_T: Tensor, table: Matrix) -> Tensor:
    """The table's rows for these tokens, as floats."""
    own, inputs = parts(table), table.inputs
    out_TI = torch.empty(len(tokens_T), inputs, dtype=table.dtype, device=tokens_T.device)
    block = min(1024, triton.next_power_of_2(inputs))
    grid = (len(tokens_T), triton.cdiv(inputs, block))
    width = own.numbers_OB.shape[1]
    _table_rows[grid](out_TI, *own, tokens_T, I=inputs, WIDTH=width, BLOCK=block, **early(out_TI))
    return out_TI
