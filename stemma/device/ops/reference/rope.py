"""Rotary position embedding.

Shapes: T rows, N heads, H width of a head, W rotated width.
"""

import torch
from torch import Tensor


def rotate(x_TNH: Tensor, cos_T1W: Tensor, sin_T1W: Tensor) -> Tensor:
    """Turn the pairs (i, i + W/2) of each head; elements from W on pass as they are.

    The sines of the first half are those of the opposite angle. Computed in float32 and rounded once.
    """
    width = cos_T1W.shape[2]
    wide_TNW = x_TNH[..., :width].float()
    left, right = wide_TNW.chunk(2, dim=-1)
    turned_TNW = torch.cat([right, left], dim=-1).mul_(sin_T1W).add_(wide_TNW * cos_T1W).to(x_TNH.dtype)
    return turned_TNW if width == x_TNH.shape[2] else torch.cat([turned_TNW, x_TNH[..., width:]], dim=-1)
