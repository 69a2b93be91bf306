"""A model whose logits are a known function of the prefix that it reads from its pages, and a host that drives it.

What stands on a slot is the token that was computed there, so a wrong slot, page, position or token
changes every logit after it.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import CacheConfig, DeviceConfig, EngineConfig, Kernels, ScheduleConfig
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.core.types.output import Logprob
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Seat
from stemma.core.types.tokens import pack
from stemma.device.attention.backend import Spans
from stemma.device.layers.batch import ForwardBatch
from stemma.device.worker import worker as worker_module
from stemma.device.worker.worker import Worker
from tests.plans import RowPlan, RowResult, plan_of, results_of

VOCAB_SIZE = 61
PAGE_SIZE = 4
PAGES = 400


def prefix_logits(prefix: Sequence[int]) -> Tensor:
    seed = zlib.crc32(np.asarray(prefix, dtype=np.int64).tobytes())
    return torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)) * 3


class FakeAttention:
    """Plans are the spans themselves."""

    def __init__(self, spec: ModelSpec, pool: object, kernels: Kernels):
        self.plan = lambda spans: spans


@dataclass
class FakeModel:
    """Hidden states are numbers of prefixes; `spoil` may change the logits of a prefix or raise."""

    spoil: Callable[[list[int], Tensor], Tensor] = lambda prefix, logits: logits
    slots: Tensor = field(default_factory=lambda: torch.full(((PAGES + 1) * PAGE_SIZE,), -1))
    prefixes: list[list[int]] = field(default_factory=list)
    most_rows: int = 0

    def forward(self, batch: ForwardBatch) -> Tensor:
        assert len(batch.slots_T) == len(batch.tokens_T) == len(batch.positions_T)
        self.slots[batch.slots_T] = batch.tokens_T
        spans: Spans = batch.attention  # type: ignore[assignment]  # of FakeAttention
        first = len(self.prefixes)
        expected: list[int] = []
        for start, count, row in zip(spans.start_N, spans.count_N, spans.row_N, strict=True):
            end = start + count
            pages = torch.from_numpy(spans.pages_RP[row, : ceil_div(end, PAGE_SIZE)])
            seen = (pages[:, None] * PAGE_SIZE + torch.arange(PAGE_SIZE)).flatten()
            known = self.slots[seen].tolist()
            self.prefixes += [known[: position + 1] for position in range(start, end)]
            expected += range(start, end)
        assert batch.positions_T.tolist() == expected
        return torch.arange(first, len(self.prefixes)).unsqueeze(1)

    def logits(self, hidden_TD: Tensor, places_S: Tensor) -> Tensor:
        self.most_rows = max(self.most_rows, len(places_S))
        wanted = [self.prefixes[number] for number in hidden_TD[places_S].squeeze(1).tolist()]
        return torch.stack([self.spoil(prefix, prefix_logits(prefix)) for prefix in wanted])

    def copy_page(self, source: int, target: int) -> None:
        """It is its own pool."""
        pages = self.slots.view(-1, PAGE_SIZE)
        pages[target] = pages[source]


def fake_worker(monkeypatch: pytest.MonkeyPatch, model: FakeModel) -> Worker:
    monkeypatch.setattr(worker_module, "KVPool", lambda *arguments: model)
    monkeypatch.setattr(worker_module, "ATTENTION", {"reference": FakeAttention})
    monkeypatch.setattr(worker_module, "load_model", lambda *arguments: model)
    spec = ModelSpec(
        architecture="Qwen3ForCausalLM", model_type="qwen3", vocab_size=VOCAB_SIZE, hidden=1, layers=1, heads=1,
        kv_heads=1, head_dim=1, intermediate=1, norm_eps=1e-6, rope=RopeSpec(), max_context=4096, windows=(0,),
        tied=True,
    )  # fmt: skip
    return Worker(
        EngineConfig(
            model_path="", model=spec, load_format="dummy", context=4096, seed=77,
            cache=CacheConfig(pages=PAGES, page_size=PAGE_SIZE),
            schedule=ScheduleConfig(max_running=32, max_queued=None, step_tokens=64),
            device=DeviceConfig(dtype="float32", kv_dtype="float32"),
        )
    )  # fmt: skip


@dataclass
class Asked:
    """One sequence to continue, and what came of it."""

    prompt: list[int]
    sampling: SamplingParams
    new_tokens: int
    spec: LogprobSpec | None = None
    stop_ids: tuple[int, ...] = ()
    output: list[int] = field(default_factory=list)  # already known when it is seated: a resumed sequence
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    fault: str | None = None

    def again(self) -> "Asked":
        """The same question, not yet answered."""
        return Asked(self.prompt, self.sampling, self.new_tokens, self.spec, self.stop_ids, self.output)

    def seat(self, row: int) -> Seat:
        return Seat(
            row=row, tokens=pack(self.prompt + self.output), prompt_len=len(self.prompt), pages=(),
            sampling=self.sampling, logprobs=self.spec, stop_ids=self.stop_ids,
        )  # fmt: skip

    def take(self, result: RowResult) -> None:
        self.tokens += result.tokens
        self.logprobs += result.logprobs
        self.prompt_logprobs += result.prompt_logprobs
        self.fault = self.fault or result.fault


@dataclass
class Host:
    """Plans by numbers alone: never looks at a token, as if every result were still on its way."""

    worker: Worker
    chunk: int = 7
    seed: int = 0
    pages: int = PAGES
    page_size: int = PAGE_SIZE
    step: int = 0

    def run(self, *sequences: Asked) -> None:
        order = random.Random(self.seed)
        free = list(range(self.pages))
        order.shuffle(free)
        rows = order.sample(range(2 * len(sequences)), len(sequences))
        computed, used = [0] * len(sequences), [0] * len(sequences)
        known = [len(one.prompt) + len(one.output) for one in sequences]
        ends = [at + one.new_tokens for at, one in zip(known, sequences, strict=True)]
        while open_ones := [i for i in range(len(sequences)) if known[i] < ends[i]]:
            order.shuffle(open_ones)
            parts, chosen = [], open_ones[: order.randint(1, len(open_ones))]
            seats = tuple(sequences[i].seat(rows[i]) for i in chosen if computed[i] == 0)
            for i in chosen:
                start, end = computed[i], min(computed[i] + order.randint(1, self.chunk), known[i])
                needed = ceil_div(end, self.page_size) - used[i]
                used[i] += needed
                samples = end == known[i]
                score_from = self.score_from(sequences[i], start, end)
                pages = tuple(free.pop() for _ in range(needed))
                parts.append(RowPlan(rows[i], start, end - start, pages, samples, score_from))
                computed[i], known[i] = end, known[i] + samples
            self.step += 1
            plan = plan_of(self.step, parts, seats)
            result = self.worker.step(plan)
            assert result.step == self.step
            for i, row in zip(chosen, results_of(plan, result), strict=True):
                sequences[i].take(row)

    def score_from(self, one: Asked, start: int, end: int) -> int:
        if one.spec is None or one.spec.start < 0:
            return -1
        first = max(start, one.spec.start - 1)
        return first if first < min(end, len(one.prompt) - 1) else -1
