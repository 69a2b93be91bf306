"""Memory for what is large and lives long: weights and the cache."""

import math
import mmap

import torch
from torch import Tensor

_LARGE = 1 << 22  # bytes; twice a huge page: below, little of it could be one


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros where tensors are made by default: on a processor on huge pages, where the system gives them when asked
    (transparent_hugepage `madvise` or `always`).

    A kernel that streams weights through pages of 4 KiB waits for the translation of addresses. Pages that nobody has
    written to take no memory.
    """
    count = math.prod(shape) * dtype.itemsize
    if count < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE") or torch.get_default_device().type != "cpu":
        return torch.zeros(shape, dtype=dtype)
    memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
