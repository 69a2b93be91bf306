"""What the worker needs of an accelerator beside its kernels: memory that it can read by itself, marks, graphs.

Work is queued in one order and computed in it; nothing here waits but what says so.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Mark(Protocol):
    """A place in the order of work."""

    def record(self) -> None:
        """Here: behind all that was queued so far."""

    def wait(self) -> None:
        """Until all that was queued before the last record is done."""


class Graph(Protocol):
    """Work that was captured, on the memory that it was captured with."""

    def replay(self) -> None: ...


class Platform(Protocol):
    """One device. `device` is where tensors are made."""

    device: torch.device

    def pinned(self, count: int, dtype: torch.dtype) -> Tensor:
        """Memory of the host that the device copies from and to while the host goes on."""
        ...

    def mark(self) -> Mark: ...

    def capture(self, run: Callable[[], object]) -> Graph:
        """Record what `run` queues, instead of computing it. It ran before on the same memory, so that nothing is
        compiled now. All graphs share one pool: what one leaves there the next one overwrites."""
        ...
