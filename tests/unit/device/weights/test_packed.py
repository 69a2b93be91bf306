"""Packed weights are kept on disk: found again, made anew when anything changed, never half of them."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stemma.core.config.quant import Format
from stemma.device.weights import packed
from stemma.device.weights.load import load_safetensors
from tests.bodies import BODIES
from tests.checkpoints import tiny_checkpoint
from tests.forward import Runner, engine_config

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "model")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    monkeypatch.setattr(packed, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(packed, "WORTH_BYTES", 0)

    def kept() -> list[Path]:
        for thread in threading.enumerate():
            if thread.name == packed.KEEPER:
                thread.join()
        return sorted((tmp_path / "cache" / "packed").glob("*"))

    return kept


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the checkpoint itself was read."""
    seen = list[str]()

    def counted(*arguments: object) -> None:
        seen.append("read")
        load_safetensors(*arguments)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr("stemma.device.models.registry.load_safetensors", counted)
    return seen


def logits(folder: Path, format: Format) -> Tensor:
    return Runner(engine_config(folder, 64, "bfloat16", body=BODIES[-1], weights=format)).step([(0, TOKENS)])[0]


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("format", ["plain", "int8", "int4"])
def test_a_second_start_takes_what_the_first_packed(
    folder: Path,
    files: Callable[[], list[Path]],
    loads: list[str],
    format: Format,
    huge: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "stands_on_huge_pages", lambda whole: huge)
    first = logits(folder, format)
    (file,) = files()
    again = logits(folder, format)
    assert torch.equal(first, again)
    assert files() == [file] and loads == ["read"]


def test_memory_of_its_own_is_no_mapping_on_huge_pages() -> None:
    assert not packed.stands_on_huge_pages(torch.zeros(1 << 20, dtype=torch.uint8))


def test_small_models_are_not_kept(
    folder: Path, files: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "WORTH_BYTES", 64 << 20)
    logits(folder, "int8")
    assert files() == []


def test_every_format_and_every_checkpoint_has_a_file(
    folder: Path, files: Callable[[], list[Path]], loads: list[str]
) -> None:
    logits(folder, "int8")
    logits(folder, "int4")
    assert len(files()) == 2
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    logits(folder, "int8")
    assert len(files()) == 3 and len(loads) == 3


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole + b"\0", lambda whole: b""])
def test_a_damaged_file_is_made_anew(
    folder: Path, files: Callable[[], list[Path]], loads: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = logits(folder, "int8")
    (file,) = files()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(logits(folder, "int8"), first)
    assert files() == [file] and file.read_bytes() == whole and len(loads) == 2


def test_the_oldest_leave(folder: Path, files: Callable[[], list[Path]]) -> None:
    weights = folder / "model.safetensors"
    for day in range(packed.KEPT + 2):
        os.utime(weights, ns=(0, day))
        logits(folder, "int8")
        found = files()
    assert len(found) == packed.KEPT


def test_a_disk_that_is_full(
    folder: Path,
    files: Callable[[], list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.disk_usage", refuse)
    with caplog.at_level(logging.WARNING):
        logits(folder, "int8")
        assert files() == []
    assert "No space left" in caplog.text
