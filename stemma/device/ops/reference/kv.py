"""Writing and gathering keys and values.

A pool of int8 keeps each head's numbers as whole multiples of their largest / 127; behind them, in the last four
bytes, stands that scale, a float32.

Shapes: T rows, P slots of the pool, K key heads, H width of a head (with its scale, if it has one), C blocks,
B positions of a block.
"""

import torch
from torch import Tensor, float32, int8

from stemma.core.config.model import SCALE_BYTES


def write_slots(pool_PKH: Tensor, slots_T: Tensor, x_TKH: Tensor) -> None:
    """Put each row's keys, or values, where they belong, rounded to the pool's type."""
    kept_TKH = _scaled(x_TKH.float()) if pool_PKH.dtype == int8 else x_TKH.to(pool_PKH.dtype)
    pool_PKH.index_copy_(0, slots_T, kept_TKH)


def gather_blocks(pool_PKH: Tensor, slots_CB: Tensor) -> Tensor:
    """The positions of whole blocks, as float32 [C, K, B, H]."""
    blocks, width = slots_CB.shape
    found = pool_PKH.index_select(0, slots_CB.reshape(-1)).view(blocks, width, *pool_PKH.shape[1:])
    if pool_PKH.dtype == int8:
        found = found[..., :-SCALE_BYTES] * found[..., -SCALE_BYTES:].contiguous().view(float32)
    out_CKBH = found.new_empty(blocks, pool_PKH.shape[1], width, found.shape[3], dtype=float32)
    return out_CKBH.copy_(found.transpose(1, 2))


def _scaled(x_TKH: Tensor) -> Tensor:
    most_TK1 = x_TKH.abs().amax(-1, keepdim=True)
    inverse_TK1 = torch.where(most_TK1 > 1e-30, 127 / most_TK1, 0)
    whole_TKH = (x_TKH * inverse_TK1).round().nan_to_num()
    return torch.cat([whole_TKH.to(int8), (most_TK1 / 127).view(int8)], -1)
