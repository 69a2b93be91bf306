"""Kernels of tests alone."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.triton import noise


@triton.jit
def _noise(out, seed, position, COUNT: tl.constexpr):
    id = tl.arange(0, COUNT)
    stream = noise.words(tl.load(seed).to(tl.uint64), tl.load(position).to(tl.uint64))
    tl.store(out + id, noise.exponentials(stream, id))


def draw_noise(out: Tensor, seed: int, position: int) -> None:
    """That of the first tokens, a power of two of them."""
    _noise[(1,)](out, torch.tensor([seed]), torch.tensor([position]), COUNT=len(out))
