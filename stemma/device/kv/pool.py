"""The tensors of the KV cache.

Shapes: P slots (pages x page size), K key heads, H width of a head.
"""

import torch

from stemma.core.config.model import SCALE_BYTES, ModelSpec
from stemma.device.ops.memory import zeros


class KVPool:
    """Keys and values of every layer, by slot: page * page_size + offset. Those of int8 have a scale behind each head.

    How a backend orders what lies within a page is its own affair. The page after the last is the null page: its zeros
    stand for positions that do not exist. Nobody writes there.
    """

    def __init__(self, spec: ModelSpec, pages: int, page_size: int, dtype: torch.dtype):
        self.pages = pages
        self.page_size = page_size
        width = spec.head_dim + (SCALE_BYTES if dtype == torch.int8 else 0)
        shape = ((pages + 1) * page_size, spec.kv_heads, width)
        self.keys = [zeros(shape, dtype) for _ in range(spec.layers)]
        self.values = [zeros(shape, dtype) for _ in range(spec.layers)]

    @property
    def null_slot(self) -> int:
        return self.pages * self.page_size
