"""Drives a model directly, in place of scheduler and worker: sequences, pages, steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import CacheConfig, DeviceConfig, EngineConfig, ScheduleConfig
from stemma.core.config.families import read_model_spec
from stemma.core.config.quant import Format
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from stemma.device.layers.batch import ForwardBatch
from stemma.device.models.registry import load_model
from tests.bodies import BODIES, Body
from tests.spans import Span, together


def engine_config(
    folder: Path | str,
    context: int,
    dtype: Any = "float32",
    load_format: Any = "auto",
    body: Body = BODIES[0],
    weights: Format = "plain",
) -> EngineConfig:
    return EngineConfig(
        model_path=str(folder),
        model=read_model_spec(folder),
        load_format=load_format,
        context=context,
        seed=0,
        cache=CacheConfig(pages=64, page_size=16),
        schedule=ScheduleConfig(max_running=16, max_queued=None, step_tokens=512),
        device=DeviceConfig(
            dtype=dtype, weights=weights, kv_dtype=dtype, kernels=body.kernels, attention=body.attention
        ),
    )


class Runner:
    """A model, its pool, and a page table per sequence, with pages dealt in a shuffled order."""

    def __init__(self, config: EngineConfig, seed: int = 0, page_size: int = 16, pages: int = 256):
        dtype = getattr(torch, config.device.kv_dtype)
        self.pool = KVPool(config.model, pages, page_size, dtype)
        self.attention = ATTENTION[config.device.attention](config.model, self.pool, config.device.kernels)
        self.model = load_model(config, self.attention)
        self.free = torch.randperm(pages, generator=torch.Generator().manual_seed(seed)).tolist()
        self.pages: dict[int, list[int]] = {}
        self.length: dict[int, int] = {}

    @torch.inference_mode()
    def step(self, rows: Sequence[tuple[int, Sequence[int]]]) -> list[Tensor]:
        """Append tokens to sequences; returns the logits of every new position, per row."""
        size = self.pool.page_size
        spans: list[Span] = []
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        for row, new in rows:
            start, table = self.length.get(row, 0), self.pages.setdefault(row, [])
            while len(table) < ceil_div(start + len(new), size):
                table.append(self.free.pop())
            self.length[row] = start + len(new)
            spans.append(Span(start, len(new), torch.tensor(table)))
            tokens += list(new)
            positions += range(start, start + len(new))
            slots += [table[at // size] * size + at % size for at in range(start, start + len(new))]
        hidden = self.model.forward(
            ForwardBatch(
                tokens_T=torch.tensor(tokens),
                positions_T=torch.tensor(positions),
                slots_T=torch.tensor(slots),
                attention=self.attention.plan(together(spans)),
            )
        )
        return list(torch.split(self.model.logits(hidden, torch.arange(len(tokens))), [len(new) for _, new in rows]))
