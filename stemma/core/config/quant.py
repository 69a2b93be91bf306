"""How weights are kept, and the bytes that a matrix takes.

Outputs stand together in panels and inputs in units of four bytes; both are filled up to whole ones.
"""

from typing import Literal

from stemma.core.base.numbers import ceil_div, round_up
from stemma.core.config.model import DTYPE_BYTES, ModelSpec, matrix_shapes, vector_elements

Quantization = Literal["int8", "int4"]
Format = Literal["plain", Quantization]  # plain: in the type of the activations

PANEL = 64  # outputs of a panel
UNIT_BYTES = 4
GROUP = 32  # inputs of int4 that share a level, a byte
_SCALE_BYTES = 4  # of an output, in float32


def row_bytes(format: Format, inputs: int, dtype: str) -> int:
    """What one output takes."""
    if format == "plain":
        return round_up(inputs * DTYPE_BYTES[dtype], UNIT_BYTES)
    if format == "int8":
        return round_up(inputs, UNIT_BYTES) + _SCALE_BYTES
    return ceil_div(inputs, GROUP) * (GROUP // 2 + 1) + _SCALE_BYTES


def weight_bytes(format: Format, spec: ModelSpec, dtype: str) -> int:
    """All of a model: its matrices in the format, norms and biases in `dtype`."""
    matrices = sum(
        count * round_up(outputs, PANEL) * row_bytes(format, inputs, dtype)
        for (outputs, inputs), count in matrix_shapes(spec).items()
    )
    return matrices + vector_elements(spec) * DTYPE_BYTES[dtype]
