"""Transcendental functions whose bits do not depend on where an element stands.

torch computes most elements with vector instructions, the last few of an array (and of each thread's share) one by
one, and the two forms round differently. Here the function sees only contiguous pieces of whole vectors, each too
small to be shared among threads.
"""

from collections.abc import Callable

import torch
from torch import Tensor

VECTOR = 64  # a multiple of every vector that torch uses, in elements
PIECE = 32768  # the smallest work that torch splits among threads


def exact(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, elementwise, with equal bits for equal elements."""
    flat = x.reshape(-1)
    size = flat.numel()
    if size % VECTOR:
        flat = torch.nn.functional.pad(flat, (0, VECTOR - size % VECTOR))
    if flat.numel() <= PIECE:
        done = function(flat)
    else:
        done = torch.cat([function(piece) for piece in torch.split(flat, PIECE)])
    return done[:size].view(x.shape)
