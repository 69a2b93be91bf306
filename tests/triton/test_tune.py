"""The tuner, on toys: what it writes is what kernels then read."""

import json
import time
from pathlib import Path

import msgspec
import pytest
import torch

from benchmarks.gpu import tune
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.table import config_of
from stemma.device.ops.triton.rules import SHAPES, Shape, rule_of, table_of


def test_what_it_finds_is_what_kernels_use(
    tables: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "CHUNKS", (2,))
    monkeypatch.setattr(tune, "CANDIDATES", ((SHAPES[0], Shape(16, 64, 64, 4, 2)), (SHAPES[3],)))
    cpu, spec = torch.device("cpu"), config_of("tiny").model
    spec = msgspec.structs.replace(spec, vocab_size=64, intermediate=64, hidden=32)
    tune.tune(Stage(device="cpu", is_tiny=True), [spec], ["plain", "int4"], time.monotonic() + 600)
    found = rule_of(cpu, "plain", 64, 32)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["case"] for line in lines} == {"rule"}
    assert len(lines) == len(json.loads(table_of(cpu).read_text())) > 2
    assert found.chunk == 128 and found.shapes[-1] == SHAPES[3] and len(found.shapes) == 2
    assert found.library_rows in (64, tune.NEVER)
    assert rule_of(cpu, "int4", 64, 32).library_rows == tune.NEVER
