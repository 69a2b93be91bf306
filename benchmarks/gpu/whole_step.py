"""A worker of Qwen3-8B's shapes on tensors without memory: whatever it launches can be compiled where no GPU is.

A tensor that was left on the host by mistake meets one without memory, and torch refuses to compute with both.
"""

from collections.abc import Callable
from unittest import mock

import msgspec
import torch
from torch import Tensor

from benchmarks.gpu.table import config_of
from stemma.core.config.engine import CacheConfig, DeviceConfig, EngineConfig
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.step import Seat, StepPlan, pack_spans
from stemma.core.types.tokens import pack
from stemma.device.worker.accelerated import AcceleratedWorker

ROWS, PROMPT = 8, 600


class Nowhere:
    """A platform whose work is never done: neither marks nor graphs hold anything."""

    def __init__(self, device: str = "meta") -> None:
        self.device = torch.device(device)

    def pinned(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(count, dtype=dtype)

    def mark(self) -> "Nowhere":
        return self

    def record(self) -> None: ...

    def wait(self) -> None: ...

    def capture(self, run: Callable[[], object]) -> "Nowhere":
        return self

    def replay(self) -> None: ...


def whole_step() -> None:
    """Prompts, then decodes."""
    with mock.patch("stemma.device.models.registry.fill_random"):
        worker = AcceleratedWorker(_config(), platform=Nowhere())
    for slot in worker._staging._slots:
        slot.found_N = torch.empty_like(slot.found_N, device="meta")  # what never was cannot come back
    pages = -(-(PROMPT + 1) // 16)
    seats = tuple(
        Seat(
            row=row,
            tokens=pack(range(PROMPT)),
            prompt_len=PROMPT,
            pages=tuple(range(row * pages, (row + 1) * pages)),
            sampling=SamplingParams(temperature=0.7, top_p=0.9, sampling_seed=row),
        )
        for row in range(ROWS)
    )
    prompts = pack_spans(word for row in range(ROWS) for word in (row, 0, PROMPT, 1))
    worker.launch(StepPlan(step=0, seats=seats, spans=prompts))
    worker.launch(StepPlan(step=1, spans=pack_spans(word for row in range(ROWS) for word in (row, PROMPT, 1, 1))))


def _config() -> EngineConfig:
    """One layer is like the others."""
    config = config_of("qwen3-8b")
    spec = msgspec.structs.replace(config.model, layers=1, windows=(0,))
    device = DeviceConfig(platform="cuda", device="cuda:0", kernels="triton", attention="triton", graphs=True)
    cache = CacheConfig(pages=1000, page_size=16)
    return msgspec.structs.replace(config, model=spec, device=device, cache=cache, load_format="dummy", context=4096)
