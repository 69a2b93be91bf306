"""Matrix products whose rows do not know each other.

A library's matrix product may sum in another order when the number of rows changes. So every product here has
exactly TILE rows, and a row's bits are the same at every place of a tile.

Shapes: T rows, I inputs, O outputs.
"""

import torch
from torch import Tensor

TILE = 16


def pack(weight_OI: Tensor) -> Tensor:
    """The matrix as `linear` and `embed` take it: here, as it is."""
    return weight_OI


def linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`, TILE rows at a time."""
    rows = x_TI.shape[0]
    if rows % TILE:
        x_TI = torch.nn.functional.pad(x_TI, (0, 0, 0, TILE - rows % TILE))
    if x_TI.shape[0] == TILE:
        return torch.nn.functional.linear(x_TI, weight_OI, bias_O)[:rows]
    out_TO = x_TI.new_empty(x_TI.shape[0], weight_OI.shape[0])
    for x_tile, out_tile in zip(torch.split(x_TI.contiguous(), TILE), torch.split(out_TO, TILE), strict=True):
        out_tile.copy_(torch.nn.functional.linear(x_tile, weight_OI, bias_O))
    return out_TO[:rows]


def logits(x_TI: Tensor, weight_OI: Tensor) -> Tensor:
    """`x @ weight.T` in float32. Bodies need not round to the type of the weights on the way; torch does."""
    return linear(x_TI, weight_OI, None).float()
