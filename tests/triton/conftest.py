"""The interpreter, made right before any kernel runs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stemma.device.ops.triton import rules
from tools import triton_interpreter

triton_interpreter.install()


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for measured rules of products, empty at first."""
    monkeypatch.setattr(rules, "TABLES", tmp_path / "tuned")
    (tmp_path / "tuned").mkdir()
    for forget in (rules._table.cache_clear, rules.rule_of.cache_clear):
        forget()
    yield rules.TABLES
    for forget in (rules._table.cache_clear, rules.rule_of.cache_clear):
        forget()


@pytest.fixture(autouse=True)
def numbers_may_overflow() -> Iterator[None]:
    """As they do in silence on a GPU."""
    with np.errstate(all="ignore"):
        yield
