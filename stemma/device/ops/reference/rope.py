"""Rotary position embedding.

Shapes: T rows, N heads, H width of a head, R half of the rotated width, P positions.
"""

import torch
from torch import Tensor


def rotate(x_TNH: Tensor, positions_T: Tensor, cos_PR: Tensor, sin_PR: Tensor) -> Tensor:
    """Turn the pairs (i, i + R) of each head by their position's angles; elements from 2R on pass as they are.

    Computed in float32 and rounded once.
    """
    half = cos_PR.shape[1]
    cos_T1R = cos_PR.index_select(0, positions_T).unsqueeze(1)
    sin_T1R = sin_PR.index_select(0, positions_T).unsqueeze(1)
    left, right = x_TNH[..., :half].float(), x_TNH[..., half : 2 * half].float()
    turned = [left * cos_T1R - right * sin_T1R, right * cos_T1R + left * sin_T1R]
    if 2 * half < x_TNH.shape[2]:
        turned.append(x_TNH[..., 2 * half :].float())
    return torch.cat(turned, dim=-1).to(x_TNH.dtype)
