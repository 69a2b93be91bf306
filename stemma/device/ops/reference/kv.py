"""Writing and gathering keys and values.

Shapes: T rows, P slots of the pool, K key heads, H width of a head, C blocks, B positions of a block.
"""

from torch import Tensor, float32


def write_slots(pool_PKH: Tensor, slots_T: Tensor, x_TKH: Tensor) -> None:
    """Put each row's keys, or values, where they belong, rounded to the pool's type."""
    pool_PKH.index_copy_(0, slots_T, x_TKH.to(pool_PKH.dtype))


def gather_blocks(pool_PKH: Tensor, slots_CB: Tensor) -> Tensor:
    """The positions of whole blocks, as float32 [C, K, B, H]."""
    blocks, width = slots_CB.shape
    found = pool_PKH.index_select(0, slots_CB.reshape(-1)).view(blocks, width, *pool_PKH.shape[1:])
    out_CKBH = found.new_empty(blocks, pool_PKH.shape[1], width, pool_PKH.shape[2], dtype=float32)
    return out_CKBH.copy_(found.transpose(1, 2))
