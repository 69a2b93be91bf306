"""What is done to queries and keys between projection and attention.

Shapes: T rows, X heads, H width of a head, P positions, R pairs that are rotated.
"""

import torch
from torch import Tensor

from stemma.device.ops.reference.norm import rms_norm
from stemma.device.ops.reference.rope import rotate


def norm_rotate(
    x_TXH: Tensor,
    weight_2H: Tensor | None,
    queries: int,
    eps: float,
    cos_PR: Tensor,
    sin_PR: Tensor,
    positions_T: Tensor,
) -> Tensor:
    """Norm each head, if there are weights: the first for `queries` heads, the second for the keys behind; rotate."""
    if weight_2H is not None:
        which_X = torch.arange(x_TXH.shape[1]).ge_(queries)
        x_TXH = rms_norm(x_TXH, weight_2H.view(2, -1).index_select(0, which_X), eps)
    return rotate(x_TXH, cos_PR, sin_PR, positions_T)
