"""A feed-forward layer of many experts, of which each row meets a few.

Shapes: T rows, E experts, K of them for a row, D model width, I width of an expert, J twice that.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stemma.device.ops.matrix import Matrix
from stemma.device.ops.reference.activation import gated
from stemma.device.ops.reference.linear import linear
from stemma.device.ops.reference.sample import leaders


class Choice(NamedTuple):
    """Whom each row meets, the best first, and what each one's answer counts."""

    experts_TK: Tensor  # int32
    weights_TK: Tensor  # float32


def route(logits_TE: Tensor, count: int, is_normed: bool) -> Choice:
    """The `count` experts of the largest softmax; `is_normed`: what they count sums to 1. Computed in float32."""
    shares_TE = torch.stack([row_E.softmax(-1) for row_E in logits_TE.float()])
    experts_TK = torch.stack([leaders(row_E, count) for row_E in shares_TE])
    weights_TK = shares_TE.gather(1, experts_TK)
    if is_normed:
        weights_TK = weights_TK / weights_TK.sum(-1, keepdim=True)
    return Choice(experts_TK.int(), weights_TK)


def experts(x_TD: Tensor, gate_up_EJD: Tensor, down_EDI: Tensor, choice: Choice, activation: str) -> Tensor:
    """The weighted sum of what a row's experts answer, added in float32, the best first."""
    answers_TKD = x_TD.new_empty(*choice.experts_TK.shape, x_TD.shape[1])
    for expert, (gate_up_JD, down_DI) in enumerate(zip(gate_up_EJD, down_EDI, strict=True)):
        row_X, rank_X = (choice.experts_TK == expert).nonzero(as_tuple=True)
        if len(row_X):
            hidden_XI = gated(linear(x_TD[row_X], _matrix(gate_up_JD), None), activation)
            answers_TKD[row_X, rank_X] = linear(hidden_XI, _matrix(down_DI), None)
    sum_TD = torch.zeros_like(x_TD, dtype=torch.float32)
    for answer_TD, weight_T in zip(answers_TKD.unbind(1), choice.weights_TK.unbind(1), strict=True):
        sum_TD += answer_TD.float() * weight_T.unsqueeze(1)
    return sum_TD.to(x_TD.dtype)


def _matrix(weight_OI: Tensor) -> Matrix:
    outputs, inputs = weight_OI.shape
    return Matrix("plain", weight_OI.dtype, outputs, inputs, weight_OI.contiguous().view(torch.uint8))
