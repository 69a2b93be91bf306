"""Devices that torch serves under the name of CUDA: NVIDIA's, and AMD's through HIP."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stemma.core.base.errors import ConfigError
from stemma.device.platforms.platform import Graph, Mark


class CudaMark:
    """An event."""

    def __init__(self) -> None:
        self._event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch

    def record(self) -> None:
        self._event.record()

    def wait(self) -> None:
        self._event.synchronize()


class CudaPlatform:
    """The stream that is current in every thread: the engine's loop and its loading queue on the same."""

    def __init__(self, device: str):
        if not torch.cuda.is_available():
            raise ConfigError(f"device: torch {torch.__version__} sees no {device}; take --device cpu")
        self.device = torch.device(device)
        torch.cuda.set_device(self.device)
        self._pool: Any = torch.cuda.graph_pool_handle()

    def pinned(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(count, dtype=dtype, device="cpu", pin_memory=True)

    def mark(self) -> Mark:
        return CudaMark()

    def capture(self, run: Callable[[], object]) -> Graph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # others may allocate
            run()
        return graph
