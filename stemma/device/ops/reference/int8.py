"""Matrices of 8 bits with a scale for each output; the rows that they meet become 8 bits too.

A row x is kept as rint(x * 127 / m), m being its largest magnitude, and m / 127. Products are sums of integers, exact
in any order; then they are scaled in float32, by the output first. All bodies give the same bits.

A stored row: its numbers, zeros up to a whole unit, its scale in float32.

Shapes: T rows, I inputs, O outputs, N some outputs, B bytes of a stored row.
"""

import torch
from torch import Tensor

LEAST, MOST = 1e-30, 3e38  # magnitudes that can be divided by


def quantise(x_TI: Tensor) -> tuple[Tensor, Tensor]:
    """Integers, and what one of them stands for [T, 1]. A row with a NaN or an infinity gives NaN when multiplied."""
    most_T1 = x_TI.abs().amax(-1, keepdim=True)
    usable_T1 = (most_T1 >= LEAST) & (most_T1 <= MOST)
    inverse_T1 = torch.where(usable_T1, torch.div(torch.full_like(most_T1, 127), most_T1), 0)
    return x_TI.mul(inverse_T1).nan_to_num_().round_(), most_T1 / 127


def lay(store_NB: Tensor, rows_NI: Tensor) -> None:
    q_NI, scale_N1 = quantise(rows_NI)
    store_NB.zero_()[:, : rows_NI.shape[1]] = q_NI.to(torch.int8).view(torch.uint8)
    store_NB[:, -4:] = scale_N1.view(torch.uint8)


def rows(store_NB: Tensor, inputs: int) -> Tensor:
    """What the stored rows stand for."""
    return store_NB[:, :inputs].view(torch.int8).float() * _scales(store_NB)


def product(x_TI: Tensor, store_OB: Tensor) -> Tensor:
    q_TI, scale_T1 = quantise(x_TI)
    weight_OI = store_OB[:, : x_TI.shape[1]].view(torch.int8)
    return (q_TI.double() @ weight_OI.double().T).float().mul_(_scales(store_OB).T).mul_(scale_T1)


def _scales(store_NB: Tensor) -> Tensor:
    return store_NB[:, -4:].contiguous().view(torch.float32)
