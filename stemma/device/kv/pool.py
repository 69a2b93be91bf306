"""The tensors of the KV cache.

Shapes: P slots (pages x page size), K key heads, H width of a head, L layers, N pages, B bytes of a page.
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
        slots = (pages + 1) * page_size
        cells = zeros((2 * spec.layers, slots, spec.kv_heads, width), dtype)
        self.keys, self.values = cells[: spec.layers].unbind(), cells[spec.layers :].unbind()
        self._pages_LNB = cells.view(2 * spec.layers, pages + 1, -1)

    def copy_page(self, source: int, target: int) -> None:
        """In all layers, all of it: what is not wanted of it is written over before anybody looks."""
        self._pages_LNB[:, target] = self._pages_LNB[:, source]

    @property
    def null_slot(self) -> int:
        return self.pages * self.page_size
