"""From the rows of a plan to its tokens, on the device: what is copied there is three numbers per row.

Shapes: ops/inputs.py; a row is (row, start, count, draws).
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.inputs import Inputs, Ints, Reader, Tables
from stemma.device.ops.reference.inputs import TorchReader, checked, drawn_places
from stemma.device.ops.triton.launch import early, follow

_BLOCK = 256


@triton.jit(do_not_specialize=["rows", "tokens"], do_not_specialize_on_alignment=["positions_T"])
def _inputs(
    tokens_T, positions_T, slots_T, columns_3N, tokens_RC, pages_RP, rows, tokens,
    C: tl.constexpr, P: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    # Whose token it is: the last row that begins at or before it.
    low = tl.zeros((BLOCK,), tl.int32)
    high = low + (rows - 1)
    span = rows
    while span > 1:
        middle = (low + high + 1) // 2
        begins = tl.load(columns_3N + rows + middle) <= t
        low = tl.where(begins, middle, low)
        high = tl.where(begins, high, middle - 1)
        span = (span + 1) // 2
    row = tl.load(columns_3N + low)
    inside = t < tokens
    is_there = inside & (row >= 0)
    position = tl.where(is_there, t - tl.load(columns_3N + 2 * rows + low), 0)
    token = tl.load(tokens_RC + row * C + position, mask=is_there, other=0)
    page = tl.load(pages_RP + row * P + position // PAGE, mask=is_there, other=0)
    tl.store(tokens_T + t, token.to(tl.int64), mask=inside)
    tl.store(positions_T + t, position, mask=inside)
    tl.store(slots_T + t, tl.where(is_there, page * PAGE + position % PAGE, -1), mask=inside)


def inputs(tables: Tables, tokens: int) -> Reader:
    """`tokens` is the most that a step has."""
    return TorchReader(tables, _read)


def _read(tables: Tables, spans: bytes) -> Inputs:
    parts_N4 = checked(spans, tables)
    columns_3N = columns(parts_N4, len(parts_N4))
    device = tables.tokens_RC.device
    out_3T = torch.empty(3, int(parts_N4[:, 2].sum()), dtype=torch.int64, device=device)
    fill_inputs(out_3T, torch.from_numpy(columns_3N).to(device, non_blocking=True), tables)
    tokens_T, positions_T, slots_T = out_3T
    return Inputs(tokens_T, positions_T, slots_T, drawn_places(parts_N4, columns_3N[2]))


def columns(parts_N4: Ints, most: int) -> Ints:
    """What the device is told of each row: its number, its first token, where its position 0 would stand.

    Up to `most` there are columns of nobody, whose number is -1, to whom all tokens behind the others belong.
    """
    row_N, start_N, count_N, _ = parts_N4.T
    end_N, rows = count_N.cumsum(), len(row_N)
    found_3N = np.empty((3, most), np.int64)
    found_3N[:, :rows] = row_N, end_N - count_N, end_N - count_N - start_N
    found_3N[:, rows:] = [[-1], [end_N[-1]], [0]]
    return found_3N


def fill_inputs(out_3T: Tensor, columns_3N: Tensor, tables: Tables) -> None:
    """Tokens, positions and slots, from `columns`. Tokens of nobody are 0, at position 0, in slot -1: nowhere."""
    tokens, rows = out_3T.shape[1], columns_3N.shape[1]
    _inputs[(triton.cdiv(tokens, _BLOCK),)](
        *out_3T.unbind(), columns_3N, tables.tokens_RC, tables.pages_RP, rows, tokens,
        C=tables.tokens_RC.shape[1], P=tables.pages_RP.shape[1], PAGE=tables.page_size, BLOCK=_BLOCK, **early(out_3T),
    )  # fmt: skip
