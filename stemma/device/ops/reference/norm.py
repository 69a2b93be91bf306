"""Root-mean-square norms.

Shapes: T rows (any leading dimensions), D the width that is normalised.
"""

import torch
from torch import Tensor


def rms_norm(x_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Normalised in float32, rounded, then weighted. A row is summed in one order, whatever stands around it."""
    wide_TD = x_TD.float()
    # sqrt and reciprocal are exact by IEEE 754 in every form; rsqrt is not.
    scale_T1 = wide_TD.pow(2).mean(-1, keepdim=True).add_(eps).sqrt_().reciprocal_()
    return wide_TD.mul(scale_T1).to(x_TD.dtype).mul_(weight_D)


def add_rms_norm(x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm of `x + skip`, and that sum itself for the next skip. Nothing was skipped at first."""
    sum_TD = x_TD if skip_TD is None else torch.add(x_TD, skip_TD)
    return rms_norm(sum_TD, weight_D, eps), sum_TD
