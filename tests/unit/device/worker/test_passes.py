"""Steps are replayed: how many calls Python makes, what is recorded, and what runs op by op."""

import logging
import random
from pathlib import Path

import pytest
import torch

from stemma.core.config.embedded import embedded_model_path
from stemma.core.config.ledger import ledger_of
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.step import Seat
from stemma.core.types.tokens import pack
from stemma.device.layers.mlp import GatedMLP
from stemma.device.ops.cpu.library import load
from stemma.device.ops.cpu.record import CannotRecord
from stemma.device.worker import passes
from stemma.device.worker.passes import PlainPasses, RecordedPasses
from stemma.device.worker.worker import Worker
from tests.bodies import NATIVE
from tests.checkpoints import tiny_checkpoint
from tests.forward import engine_config
from tests.plans import RowPlan, plan_of
from tests.unit.device.worker.prefix_model import Asked, Host

pytestmark = pytest.mark.skipif(not NATIVE, reason="no C++ compiler: nothing native to record")


def refuse(*arguments: object) -> None:
    raise CannotRecord("it shall not")


def test_a_steady_step_makes_six_calls() -> None:
    """Inputs, attention's plan, forward pass, head, draw, tokens kept: for any number of rows and layers."""
    worker = Worker(engine_config(embedded_model_path(), 64, dtype="bfloat16", body=NATIVE[0]))
    sampling = [SamplingParams(temperature=0), SamplingParams(top_p=0.9, sampling_seed=1), SamplingParams(top_k=5)]
    seats = tuple(
        Seat(row=row, tokens=pack([row, 5]), prompt_len=2, pages=(row,), sampling=one)
        for row, one in enumerate(sampling)
    )
    worker.step(plan_of(1, (RowPlan(row, 0, 2, (), True) for row in range(3)), seats))
    before = load(NATIVE[0].kernels).calls
    for step in range(2, 12):
        worker.step(plan_of(step, (RowPlan(row, step, 1, (), True) for row in range(3))))
    assert load(NATIVE[0].kernels).calls - before == 10 * 6


@pytest.mark.parametrize("body", NATIVE, ids=str)
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_a_replayed_step_has_the_bits_of_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: object, architecture: str
) -> None:
    config = engine_config(tiny_checkpoint(tmp_path, architecture), 256, dtype="bfloat16", body=body)  # type: ignore[arg-type]
    recorded = Worker(config)
    monkeypatch.setattr(passes, "RecordedPasses", refuse)
    plain = Worker(config)
    assert isinstance(recorded._passes, RecordedPasses) and isinstance(plain._passes, PlainPasses)
    draw, answers = random.Random(3), []
    for worker in (recorded, plain):
        draw.seed(3)
        prompts = [[draw.randrange(200) for _ in range(draw.randrange(1, 70))] for _ in range(6)]
        asked = [Asked(prompt, SamplingParams(top_k=8, sampling_seed=at), 9) for at, prompt in enumerate(prompts)]
        Host(worker, chunk=30, pages=config.cache.pages, page_size=config.cache.page_size).run(*asked)
        answers.append([one.tokens for one in asked])
    assert answers[0] == answers[1]


def test_the_ledger_knows_the_memory_of_a_recording() -> None:
    config = engine_config(embedded_model_path(), 2048, dtype="bfloat16", body=NATIVE[0])
    found, ledger = Worker(config)._passes, ledger_of(config, 1 << 40)
    assert isinstance(found, RecordedPasses)
    forward, head = found.bytes
    assert 0.9 * ledger.line("largest step").bytes < forward <= ledger.line("largest step").bytes
    assert 0.9 * ledger.line("logits").bytes < head <= 1.1 * ledger.line("logits").bytes


def test_what_is_not_native_runs_op_by_op(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(GatedMLP, "forward", lambda self, x_TD: torch.tanh(x_TD))
    with caplog.at_level(logging.WARNING):
        worker = Worker(engine_config(embedded_model_path(), 64, dtype="bfloat16", body=NATIVE[0]))
    assert isinstance(worker._passes, PlainPasses)
    assert "tanh is no native op" in caplog.text
