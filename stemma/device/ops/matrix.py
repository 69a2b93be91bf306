"""A weight in the memory that kernels read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stemma.core.base.numbers import round_up
from stemma.core.config.quant import PANEL, Format, row_bytes
from stemma.device.ops.memory import zeros


@dataclass(slots=True, frozen=True, eq=False)
class Matrix:
    """Outputs by inputs, in a format. Only the bodies of ops that filled `store` know its layout."""

    format: Format
    dtype: torch.dtype  # of the numbers that go in and come out
    outputs: int
    inputs: int
    store: Tensor  # bytes: whole panels of outputs, each with `row_bytes`


def empty_matrix(format: Format, outputs: int, inputs: int, dtype: torch.dtype) -> Matrix:
    """Memory that waits for its rows; outputs that nobody asked for are zero."""
    bytes = row_bytes(format, inputs, str(dtype).removeprefix("torch."))
    return Matrix(format, dtype, outputs, inputs, zeros((round_up(outputs, PANEL), bytes), torch.uint8))
