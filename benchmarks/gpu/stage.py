"""What every section of a run stands on: which device, which sizes, how long something takes, how a result is told."""

import gc
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from msgspec import Struct

from stemma.core.config.engine import Kernels

WARMUPS = 3


class Stage(Struct, frozen=True, kw_only=True):
    """Of one run. Travels to its sections as JSON."""

    device: str = "cuda"
    is_tiny: bool = False  # models of toys and sizes of toys: does everything run?
    models: tuple[str, ...] = ("qwen3-0.6b", "qwen3-8b")
    folder: str = "/dev/shm/stemma"  # of the models' random weights
    seconds: float = 600.0  # that this section has
    peers: tuple[str, ...] = ()

    @property
    def is_accelerated(self) -> bool:
        return self.device != "cpu"

    @property
    def kernels(self) -> Kernels:
        """Those of accelerators where they run, plain torch elsewhere."""
        return "triton" if self.is_accelerated else "reference"

    def pick(self, real: int, tiny: int) -> int:
        return tiny if self.is_tiny else real


def tell(case: str, **numbers: object) -> None:
    """One result, as one line of JSON."""
    print(json.dumps({"case": case, **numbers}), flush=True)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def wall_seconds(run: Callable[[], object]) -> float:
    synchronize()
    began = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - began


def kernel_seconds(stage: Stage, *runs: Callable[[], object], repeats: int = 20) -> tuple[float, float]:
    """The median of one call and its spread (half of the range between quartiles), in turns through `runs`.

    Give as many runs as it takes for their inputs not to fit into a cache. On a GPU events tell the time, so that what
    Python takes does not count.
    """
    repeats = stage.pick(repeats, 2)
    for number in range(stage.pick(WARMUPS, 1)):
        runs[number % len(runs)]()
    if not stage.is_accelerated:
        return _spread([wall_seconds(runs[number % len(runs)]) for number in range(repeats)])
    cuda: Any = torch.cuda  # whose types are not told
    marks = [(cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)) for _ in range(repeats)]
    synchronize()
    cuda._sleep(20_000_000)  # some ms, in which all launches are queued: gaps between them do not count
    for number, (begin, end) in enumerate(marks):
        begin.record()
        runs[number % len(runs)]()
        end.record()
    synchronize()
    return _spread([begin.elapsed_time(end) / 1e3 for begin, end in marks])


def difference(found: torch.Tensor, reference: torch.Tensor) -> float:
    """The norm of the difference over that of the reference; NaN never passes."""
    found, reference = found.double(), reference.double()
    return float((found - reference).norm() / reference.norm())


def forget() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _spread(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    quarter = len(ordered) // 4
    return median(ordered), (ordered[-1 - quarter] - ordered[quarter]) / 2
