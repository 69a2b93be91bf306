"""Native bodies of the ops, for float32 and bfloat16.

Shapes: T rows, S some of them, I inputs, O outputs, N some of them, D model width, X heads, H width of a head,
P positions, R rotated pairs, J twice the width of a feed-forward layer.
"""

import torch
from torch import Tensor

from stemma.device.ops.cpu.inputs import NativeReader
from stemma.device.ops.cpu.library import Library, empty
from stemma.device.ops.inputs import Reader, Tables
from stemma.device.ops.matrix import Matrix

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")
_SLICE = 4096  # outputs that are converted at a time


def inputs(library: Library, tables: Tables, tokens: int) -> Reader:
    return NativeReader(library, tables, tokens)


def lay(library: Library, matrix: Matrix, first: int, rows_NI: Tensor) -> None:
    """Put the outputs from `first` on into the matrix, straight from where they lie if a function reads their type."""
    can_read = (matrix.dtype,) if matrix.format == "plain" else (torch.float32, torch.bfloat16)
    dtype = rows_NI.dtype if rows_NI.dtype in can_read else can_read[0]
    for rows in torch.split(rows_NI, _SLICE):
        own = rows.to(dtype).contiguous()
        library.lay[matrix.format, dtype](matrix.store, own, first, len(own), matrix.inputs)
        first += len(own)


def embed(library: Library, tokens_T: Tensor, table: Matrix) -> Tensor:
    out_TI = empty(len(tokens_T), table.inputs, dtype=table.dtype)
    library.embed[table.format, table.dtype](out_TI, tokens_T, table.store, len(tokens_T), table.inputs)
    return out_TI


def take(library: Library, x_TD: Tensor, places_S: Tensor) -> Tensor:
    x_TD = x_TD.contiguous()
    out_SD = empty(len(places_S), x_TD.shape[1], dtype=x_TD.dtype)
    library.take(out_SD, x_TD, places_S, len(places_S), x_TD.shape[1] * x_TD.itemsize)
    return out_SD


def linear(library: Library, x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None) -> Tensor:
    x_TI = x_TI.contiguous()
    out_TO = empty(len(x_TI), matrix.outputs, dtype=x_TI.dtype)
    multiply = library.linear[matrix.format, x_TI.dtype]
    multiply(out_TO, x_TI, matrix.store, bias_O, len(x_TI), matrix.inputs, matrix.outputs)
    return out_TO


def logits(library: Library, x_TI: Tensor, matrix: Matrix) -> Tensor:
    x_TI = x_TI.contiguous()
    out_TO = empty(len(x_TI), matrix.outputs, dtype=torch.float32)
    multiply = library.logits[matrix.format, x_TI.dtype]
    multiply(out_TO, x_TI, matrix.store, len(x_TI), matrix.inputs, matrix.outputs)
    return out_TO


def add_rms_norm(
    library: Library, x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    x_TD = x_TD.contiguous()
    out_TD, sum_TD = empty(*x_TD.shape, dtype=x_TD.dtype), x_TD
    if skip_TD is not None:
        skip_TD, sum_TD = skip_TD.contiguous(), empty(*x_TD.shape, dtype=x_TD.dtype)
    library.add_rms_norm[x_TD.dtype](out_TD, sum_TD, x_TD, skip_TD, weight_D, *x_TD.shape, eps)
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
    tensors = out_TXH, x_TXH, weight_2H, cos_PR, sin_PR, positions_T
    sizes = rows, x_TXH.stride(0), heads, queries, width, cos_PR.shape[1]
    library.norm_rotate[x_TXH.dtype](*tensors, *sizes, eps)
    return out_TXH


def gated(library: Library, gate_up_TJ: Tensor, activation: str) -> Tensor:
    x_TJ = gate_up_TJ.contiguous()
    rows, width = x_TJ.shape[0], x_TJ.shape[1] // 2
    out_TI = empty(rows, width, dtype=x_TJ.dtype)
    library.gated[x_TJ.dtype](out_TI, x_TJ, rows, width, ACTIVATIONS.index(activation))
    return out_TI


def gated_linear(library: Library, x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None, activation: str) -> Tensor:
    return gated(library, linear(library, x_TI, matrix, bias_O), activation)


def side_by_side(x_TXH: Tensor) -> Tensor:
    """The same; the heads of a row have no gaps between them, rows may."""
    return x_TXH if x_TXH.stride()[1:] == (x_TXH.shape[2], 1) else x_TXH.contiguous()
