"""Matrix products of many rows by the library that comes with torch.

It chooses another order of summation for another number of rows: who asks for it (`--deterministic off`) gives up that
a row has the bits that it has alone. The rule of a weight says from how many rows on it is faster than ours.

Shapes: T rows, I inputs, O outputs.
"""

from torch import Tensor, nn

from stemma.device.ops.matrix import Matrix
from stemma.device.ops.triton import linear as own
from stemma.device.ops.triton.gated import gated
from stemma.device.ops.triton.rules import rule_of


def linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None) -> Tensor:
    """`x @ matrix.T + bias`."""
    if not _is_faster(x_TI, matrix):
        return own.linear(x_TI, matrix, bias_O)
    return nn.functional.linear(x_TI, own.plain(matrix)[: matrix.outputs, : matrix.inputs], bias_O)


def gated_linear(x_TI: Tensor, matrix: Matrix, bias_O: Tensor | None, activation: str) -> Tensor:
    """`activation(gate) * up` of these outputs: gates first, then as many ups."""
    if not _is_faster(x_TI, matrix):
        return own.gated_linear(x_TI, matrix, bias_O, activation)
    return gated(linear(x_TI, matrix, bias_O), activation)


def _is_faster(x_TI: Tensor, matrix: Matrix) -> bool:
    if matrix.format != "plain":
        return False
    return len(x_TI) >= rule_of(x_TI.device, matrix.format, matrix.outputs, matrix.inputs).library_rows
