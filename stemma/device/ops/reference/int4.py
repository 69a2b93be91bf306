"""Matrices of 4 bits: a small integer for each group of 32 inputs, and a scale for each output.

A weight is `scale * level * q` with q from -8 to 7; of a group, the weight farthest from zero becomes -8, so levels
have signs. Levels are bounded by what a sum of integers can hold. The rows that meet the matrix become 8 bits as in
int8, and products are exact in the same way.

A stored row: its numbers in pairs, zeros up to a whole group; the level of each group; its scale in float32.

Shapes: T rows, I inputs, O outputs, N some outputs, G groups, K inputs of a group, B bytes of a stored row.
"""

import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.config.quant import GROUP
from stemma.device.ops.reference.int8 import LEAST, MOST, quantise

_MOST = 2113664  # inputs times levels: products of at most 8 * level and 127 then stay below 2^31


def lay(store_NB: Tensor, rows_NI: Tensor) -> None:
    groups = ceil_div(rows_NI.shape[1], GROUP)
    levels = min(127, _MOST // rows_NI.shape[1])
    most_N1 = rows_NI.abs().amax(-1, keepdim=True)
    usable_N1 = (most_N1 >= LEAST) & (most_N1 <= MOST)
    inverse_N1 = torch.where(usable_N1, torch.div(torch.full_like(most_N1, 8 * levels), most_N1), 0)
    padded_NGK = torch.nn.functional.pad(rows_NI, (0, groups * GROUP - rows_NI.shape[1])).view(-1, groups, GROUP)
    high_NG, low_NG = padded_NGK.amax(-1), padded_NGK.amin(-1)
    farthest_NG = torch.where(high_NG > -low_NG, high_NG, low_NG)
    level_NG = farthest_NG.mul(inverse_N1).mul_(-0.125).nan_to_num_().round_()
    level_NG[level_NG == 0] = 1
    q_NGK = (padded_NGK * (inverse_N1 / level_NG).unsqueeze(-1)).nan_to_num_().round_().clamp_(-8, 7).add_(8)
    pairs_NP = q_NGK.to(torch.uint8).view(len(rows_NI), -1, 2)
    store_NB[:, : -groups - 4] = pairs_NP[..., 0] | pairs_NP[..., 1] << 4
    store_NB[:, -groups - 4 : -4] = level_NG.to(torch.int8).view(torch.uint8)
    store_NB[:, -4:] = (most_N1 / (8 * levels)).view(torch.uint8)


def rows(store_NB: Tensor, inputs: int) -> Tensor:
    """What the stored rows stand for."""
    return _integers(store_NB, inputs).float() * _scales(store_NB)


def product(x_TI: Tensor, store_OB: Tensor) -> Tensor:
    q_TI, scale_T1 = quantise(x_TI)
    sums_TO = q_TI.double() @ _integers(store_OB, x_TI.shape[1]).double().T
    return sums_TO.float().mul_(_scales(store_OB).T).mul_(scale_T1)


def _integers(store_NB: Tensor, inputs: int) -> Tensor:
    """Levels times numbers."""
    groups = ceil_div(inputs, GROUP)
    pairs_NP = store_NB[:, : -groups - 4]
    q_NGK = torch.stack([pairs_NP & 15, pairs_NP >> 4], -1).view(-1, groups, GROUP).to(torch.int16).sub_(8)
    level_NG = store_NB[:, -groups - 4 : -4].view(torch.int8)
    return (q_NGK * level_NG.unsqueeze(-1)).flatten(1)[:, :inputs]


def _scales(store_NB: Tensor) -> Tensor:
    return store_NB[:, -4:].contiguous().view(torch.float32)
