"""Matrix products whose rows do not know each other, and rows of tables, in every format.

A library's matrix product may sum in another order when the number of rows changes. So every product of floats has
exactly TILE rows, and a row's bits are the same at every place of a tile.

Shapes: T rows, I inputs, O outputs, N some outputs.
"""

from typing import Protocol

import torch
from torch import Tensor

from stemma.core.config.quant import Format
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.reference import int4, int8

TILE = 16


class Quantised(Protocol):
    """A module that knows a format. Stored rows are bytes [N, B]; all else is float32."""

    def lay(self, store_NB: Tensor, rows_NI: Tensor) -> None:
        """Fill the stored rows."""
        ...

    def rows(self, store_NB: Tensor, inputs: int) -> Tensor:
        """What stored rows stand for."""
        ...

    def product(self, x_TI: Tensor, store_OB: Tensor) -> Tensor:
        """`x @ stored.T`."""
        ...


_QUANTISED: dict[Format, Quantised] = {"int8": int8, "int4": int4}


def lay(matrix: Matrix, first: int, rows_NI: Tensor) -> None:
    """Put the outputs from `first` on into the matrix. Every output is laid once before it is read."""
    if matrix.format in _QUANTISED:
        _QUANTISED[matrix.format].lay(matrix.store[first : first + len(rows_NI)], rows_NI.float())
    else:
        _plain(matrix)[first : first + len(rows_NI)] = rows_NI


def embed(tokens_T: Tensor, matrix: Matrix) -> Tensor:
    """Its rows for these tokens."""
    if matrix.format in _QUANTISED:
        return _QUANTISED[matrix.format].rows(matrix.store[tokens_T], matrix.inputs).to(matrix.dtype)
    return _plain(matrix).index_select(0, tokens_T)


def linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None) -> Tensor:
    """`x @ matrix.T + bias`."""
    if matrix.format in _QUANTISED:
        out_TO = logits(x_TI, matrix)
        return (out_TO if bias_O is None else out_TO.add_(bias_O)).to(x_TI.dtype)
    return _by_tiles(x_TI, _plain(matrix), bias_O)


def logits(x_TI: Tensor, matrix: Matrix) -> Tensor:
    """`x @ matrix.T` in float32. Bodies need not round to the type of the weights on the way; torch does."""
    if matrix.format in _QUANTISED:
        return _QUANTISED[matrix.format].product(x_TI.float(), matrix.store[: matrix.outputs])
    return _by_tiles(x_TI, _plain(matrix), None).float()


def _plain(matrix: Matrix) -> Tensor:
    return matrix.store.view(matrix.dtype)[: matrix.outputs, : matrix.inputs]


def _by_tiles(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    rows = x_TI.shape[0]
    if rows % TILE:
        x_TI = torch.nn.functional.pad(x_TI, (0, 0, 0, TILE - rows % TILE))
    if x_TI.shape[0] == TILE:
        return torch.nn.functional.linear(x_TI, weight_OI, bias_O)[:rows]
    out_TO = x_TI.new_empty(x_TI.shape[0], weight_OI.shape[0])
    for x_tile, out_tile in zip(torch.split(x_TI.contiguous(), TILE), torch.split(out_TO, TILE), strict=True):
        out_tile.copy_(torch.nn.functional.linear(x_tile, weight_OI, bias_O))
    return out_TO[:rows]
