"""Rotary position embedding.

Shapes: T rows, N heads, H width of a head, W rotated width, R pairs that are rotated, P positions.
"""

import torch
from torch import Tensor


def rotate(x_TNH: Tensor, cos_PR: Tensor, sin_PR: Tensor, positions_T: Tensor) -> Tensor:
    """Turn the pairs (i, i + R) of each head by the angles of its position; elements from W on pass as they are.

    Computed in float32 and rounded once.
    """
    cos_T1R, sin_T1R = (table_PR.index_select(0, positions_T).unsqueeze(1) for table_PR in (cos_PR, sin_PR))
    width = 2 * cos_PR.shape[1]
    wide_TNW = x_TNH[..., :width].float()
    left, right = wide_TNW.chunk(2, dim=-1)
    sin_T1W, cos_T1W = torch.cat([-sin_T1R, sin_T1R], -1), torch.cat([cos_T1R, cos_T1R], -1)
    turned_TNW = torch.cat([right, left], dim=-1).mul_(sin_T1W).add_(wide_TNW * cos_T1W).to(x_TNH.dtype)
    return turned_TNW if width == x_TNH.shape[2] else torch.cat([turned_TNW, x_TNH[..., width:]], dim=-1)
