"""Native bodies of the ops, for float32 and bfloat16. As many threads work as torch is told to use.

Shapes: T rows, S some of them, I inputs, O outputs, D model width, X heads, H width of a head, P positions, R rotated
pairs, J twice the width of a feed-forward layer.
"""

import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.device.ops.cpu.library import Library, empty
from stemma.device.ops.reference.activation import gated as gated_by_torch

PANEL = 64  # outputs that stand together in a packed matrix
_UNIT_BYTES = 4


def pack(library: Library, weight_OI: Tensor) -> Tensor:
    """The matrix laid out for `linear`, `logits` and `embed`, in its own memory where no filling is needed.

    The answer has the shape of the matrix, and only these three can read it.
    """
    outputs, inputs = weight_OI.shape
    units, panels = ceil_div(inputs * weight_OI.itemsize, _UNIT_BYTES), ceil_div(outputs, PANEL)
    store = weight_OI
    if units * _UNIT_BYTES != inputs * weight_OI.itemsize or panels * PANEL != outputs:
        store = weight_OI.new_zeros(panels * PANEL, units * _UNIT_BYTES // weight_OI.itemsize)
        store[:outputs, :inputs] = weight_OI
    library.pack(store.data_ptr(), panels, units, torch.get_num_threads())
    return store.flatten()[: outputs * inputs].view(outputs, inputs)


def embed(library: Library, tokens_T: Tensor, table_OI: Tensor) -> Tensor:
    rows, width = len(tokens_T), table_OI.shape[1]
    out_TI = empty(rows, width, dtype=table_OI.dtype)
    row_bytes = width * table_OI.itemsize
    library.embed(
        out_TI.data_ptr(),
        tokens_T.data_ptr(),
        table_OI.data_ptr(),
        rows,
        ceil_div(row_bytes, _UNIT_BYTES),
        row_bytes,
        torch.get_num_threads(),
    )
    return out_TI


def take(library: Library, x_TD: Tensor, places_S: Tensor) -> Tensor:
    x_TD = x_TD.contiguous()
    out_SD = empty(len(places_S), x_TD.shape[1], dtype=x_TD.dtype)
    library.take(
        out_SD.data_ptr(),
        x_TD.data_ptr(),
        places_S.data_ptr(),
        len(places_S),
        x_TD.shape[1] * x_TD.itemsize,
        torch.get_num_threads(),
    )
    return out_SD


def linear(library: Library, x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    x_TI = x_TI.contiguous()
    (rows, inputs), outputs = x_TI.shape, weight_OI.shape[0]
    out_TO = empty(rows, outputs, dtype=x_TI.dtype)
    library.linear[x_TI.dtype](
        out_TO.data_ptr(),
        x_TI.data_ptr(),
        weight_OI.data_ptr(),
        None if bias_O is None else bias_O.data_ptr(),
        rows,
        inputs,
        outputs,
        torch.get_num_threads(),
    )
    return out_TO


def logits(library: Library, x_TI: Tensor, weight_OI: Tensor) -> Tensor:
    x_TI = x_TI.contiguous()
    (rows, inputs), outputs = x_TI.shape, weight_OI.shape[0]
    out_TO = empty(rows, outputs, dtype=torch.float32)
    library.logits[x_TI.dtype](
        out_TO.data_ptr(), x_TI.data_ptr(), weight_OI.data_ptr(), rows, inputs, outputs, torch.get_num_threads()
    )
    return out_TO


def add_rms_norm(
    library: Library, x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    x_TD = x_TD.contiguous()
    out_TD, sum_TD = empty(*x_TD.shape, dtype=x_TD.dtype), x_TD
    if skip_TD is not None:
        skip_TD, sum_TD = skip_TD.contiguous(), empty(*x_TD.shape, dtype=x_TD.dtype)
    library.add_rms_norm[x_TD.dtype](
        out_TD.data_ptr(),
        sum_TD.data_ptr(),
        x_TD.data_ptr(),
        None if skip_TD is None else skip_TD.data_ptr(),
        weight_D.data_ptr(),
        *x_TD.shape,
        eps,
        torch.get_num_threads(),
    )
    return out_TD, sum_TD


def norm_rotate(
    library: Library,
    x_TXH: Tensor,
    weight_2H: Tensor | None,
    queries: int,
    eps: float,
    cos_PR: Tensor,
    sin_PR: Tensor,
    positions_T: Tensor,
) -> Tensor:
    x_TXH = side_by_side(x_TXH)
    rows, heads, width = x_TXH.shape
    out_TXH = empty(rows, heads, width, dtype=x_TXH.dtype)
    library.norm_rotate[x_TXH.dtype](
        out_TXH.data_ptr(),
        x_TXH.data_ptr(),
        None if weight_2H is None else weight_2H.data_ptr(),
        cos_PR.data_ptr(),
        sin_PR.data_ptr(),
        positions_T.data_ptr(),
        rows,
        x_TXH.stride(0),
        heads,
        queries,
        width,
        cos_PR.shape[1],
        eps,
        torch.get_num_threads(),
    )
    return out_TXH


def gated(library: Library, gate_up_TJ: Tensor, activation: str) -> Tensor:
    """Native for silu; models with another activation are few."""
    if activation != "silu":
        return gated_by_torch(gate_up_TJ, activation)
    x_TJ = gate_up_TJ.contiguous()
    rows, width = x_TJ.shape[0], x_TJ.shape[1] // 2
    out_TI = empty(rows, width, dtype=x_TJ.dtype)
    library.gated[x_TJ.dtype](out_TI.data_ptr(), x_TJ.data_ptr(), rows, width, torch.get_num_threads())
    return out_TI


def side_by_side(x_TXH: Tensor) -> Tensor:
    """The same; the heads of a row have no gaps between them, rows may."""
    return x_TXH if x_TXH.stride()[1:] == (x_TXH.shape[2], 1) else x_TXH.contiguous()
