"""Matrices of tests, in any format."""

from torch import Tensor

from stemma.core.config.quant import Format
from stemma.device.ops.matrix import Matrix, empty_matrix
from stemma.device.ops.table import Ops, ops_of

REFERENCE = ops_of("reference")


def laid(weight_OI: Tensor, ops: Ops = REFERENCE, format: Format = "plain") -> Matrix:
    """A matrix that holds these numbers, in the layout of these bodies."""
    outputs, inputs = weight_OI.shape
    matrix = empty_matrix(format, outputs, inputs, weight_OI.dtype)
    ops.lay(matrix, 0, weight_OI)
    return matrix
