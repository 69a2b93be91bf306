"""What the host takes to launch a step and to read its result, with a device that does nothing: `python -m
benchmarks.gpu.launch_cost`. Steady decode, all steps graphs; copies are those of a processor's memory.
"""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest import mock

import msgspec
import torch
from torch import Tensor

from benchmarks.facts import report
from benchmarks.gpu.table import config_of
from benchmarks.gpu.whole_step import Nowhere
from stemma.core.config.engine import CacheConfig, DeviceConfig
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.step import News, Seat, StepPlan, pack_spans
from stemma.core.types.tokens import pack
from stemma.device.attention.backend import ATTENTION
from stemma.device.ops.accelerated import StepOps
from stemma.device.ops.cpu.sampling import Drawn
from stemma.device.worker import accelerated
from stemma.device.worker.accelerated import AcceleratedWorker

STEPS, PROMPT = 200, 33


@dataclass
class _Plan:
    spans_R3: Tensor
    inputs: tuple[Tensor, ...] = ()


class Nothing:
    """Model and attention at once."""

    def __init__(self, *_: Any) -> None: ...

    def plan(self, spans: object) -> Any: ...

    def static_plan(self, rows: int, tokens: int, pages_RP: Tensor) -> _Plan:
        return _Plan(torch.zeros(rows, 3, dtype=torch.int32))

    def lay_out(self, plan: object) -> None: ...

    def forward(self, batch: Any) -> Tensor:
        return torch.zeros(len(batch.tokens_T), 64, dtype=torch.bfloat16)

    def logits(self, hidden_TD: Tensor, places_S: Tensor) -> Tensor:
        return torch.zeros(len(places_S), 8)


def sample(logits_SV: Tensor, asks_SB: Tensor) -> Drawn:
    fine_S = torch.ones(len(logits_SV), dtype=torch.bool)
    return Drawn(torch.zeros(len(logits_SV), dtype=torch.int64), fine_S, ~fine_S)


def worker_of(rows: int) -> AcceleratedWorker:
    config = config_of("tiny")
    config = msgspec.structs.replace(
        config,
        context=4096,
        cache=CacheConfig(pages=64, page_size=16),
        schedule=msgspec.structs.replace(config.schedule, max_running=rows, depth=2),
        device=DeviceConfig(platform="cuda", device="cuda:0", kernels="triton", attention="triton", graphs=True),
    )
    ops = StepOps(lambda *_: None, sample, lambda *_: None)  # type: ignore[arg-type]  # never scored
    with (
        mock.patch.object(accelerated, "load_model", Nothing),
        mock.patch.dict(ATTENTION._places, triton="benchmarks.gpu.launch_cost:Nothing"),
    ):
        return AcceleratedWorker(config, platform=Nowhere("cpu"), ops=ops)


def measure(rows: int) -> None:
    worker = worker_of(rows)
    seats = tuple(
        Seat(
            row=row, tokens=pack(range(PROMPT)), prompt_len=PROMPT, pages=(0, 1, 2), sampling=SamplingParams(top_p=0.9)
        )
        for row in range(rows)
    )
    worker.step(StepPlan(step=0, seats=seats, spans=pack_spans(w for row in range(rows) for w in (row, 0, PROMPT, 1))))
    launches, waits = [], []
    for step in range(1, STEPS):
        position = PROMPT + step - 1
        # A sixteenth of the rows begins a page: neighbours began theirs at other times.
        news = {row: News(pages=(3,)) for row in range(rows) if (row + position) % 16 == 0}
        spans = pack_spans(word for row in range(rows) for word in (row, position, 1, 1))
        worker._rows.paged_R[:] = 64  # room for all of them
        began = time.perf_counter()
        flight = worker.launch(StepPlan(step=step, spans=spans, news=news))
        launched = time.perf_counter()
        flight.wait()
        launches.append(launched - began)
        waits.append(time.perf_counter() - launched)
    half = STEPS // 2
    report(
        "launch_cost",
        rows=rows,
        launch_us=round(median(launches[half:]) * 1e6, 1),
        wait_us=round(median(waits[half:]) * 1e6, 1),
        graphs=len(worker.captured),
    )


if __name__ == "__main__":
    for rows in (1, 32, 256, 512):
        measure(rows)
