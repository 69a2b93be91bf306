"""Native bodies of the ops, for float32 and bfloat16. As many threads work as torch is told to use.

Shapes: T rows, I inputs, O outputs, D model width, X heads, H width of a head, W rotated width, J twice the width of
a feed-forward layer.
"""

import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.device.ops.cpu.library import Library
from stemma.device.ops.reference.activation import gated as gated_by_torch

PANEL = 64  # outputs that stand together in a packed matrix
_UNIT_BYTES = 4


def pack(library: Library, weight_OI: Tensor) -> Tensor:
    """The matrix laid out for `linear` and `embed`, in its own memory where no filling is needed.

    The answer has the shape of the matrix, and only these two can read it.
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
    out_TI = table_OI.new_empty(rows, width)
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


def linear(library: Library, x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    x_TI = x_TI.contiguous()
    (rows, inputs), outputs = x_TI.shape, weight_OI.shape[0]
    out_TO = x_TI.new_empty(rows, outputs)
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


def add_rms_norm(
    library: Library, x_TD: Tensor, skip_TD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    x_TD, skip_TD = x_TD.contiguous(), skip_TD.contiguous()
    out_TD, sum_TD = torch.empty_like(x_TD), torch.empty_like(x_TD)
    library.add_rms_norm[x_TD.dtype](
        out_TD.data_ptr(),
        sum_TD.data_ptr(),
        x_TD.data_ptr(),
        skip_TD.data_ptr(),
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
    cos_T1W: Tensor,
    sin_T1W: Tensor,
) -> Tensor:
    x_TXH, cos_T1W, sin_T1W = side_by_side(x_TXH), cos_T1W.contiguous(), sin_T1W.contiguous()
    rows, heads, width = x_TXH.shape
    out_TXH = x_TXH.new_empty(rows, heads, width)
    library.norm_rotate[x_TXH.dtype](
        out_TXH.data_ptr(),
        x_TXH.data_ptr(),
        None if weight_2H is None else weight_2H.data_ptr(),
        cos_T1W.data_ptr(),
        sin_T1W.data_ptr(),
        rows,
        x_TXH.stride(0),
        heads,
        queries,
        width,
        cos_T1W.shape[2],
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
    out_TI = x_TJ.new_empty(rows, width)
    library.gated[x_TJ.dtype](out_TI.data_ptr(), x_TJ.data_ptr(), rows, width, torch.get_num_threads())
    return out_TI


def side_by_side(x_TXH: Tensor) -> Tensor:
    """The same; the heads of a row have no gaps between them, rows may."""
    return x_TXH if x_TXH.stride()[1:] == (x_TXH.shape[2], 1) else x_TXH.contiguous()
