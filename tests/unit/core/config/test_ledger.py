"""The ledger against what is on disk and what torch allocates."""

from pathlib import Path

import pytest
import torch
from torch import nn

from stemma.core.base.errors import ConfigError
from stemma.core.config import ledger
from stemma.core.config.ask import ask_from
from stemma.core.config.ledger import Ledger, Line
from stemma.core.config.machine import Machine
from stemma.core.config.resolve import Settled, resolve
from stemma.device.attention.reference import MOST_TASKS
from stemma.device.kv.pool import KVPool
from stemma.device.layers.rope import Rotary
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.reference.attention import BLOCK, TILE
from stemma.device.weights.places import held
from tests.checkpoints import tiny_checkpoint
from tests.forward import Runner

MACHINE = Machine(name="Quick One", architecture="x86_64", cores=2, memory_bytes=8 << 30)


def plan(folder: Path, **kwargs: object) -> Settled:
    return resolve(ask_from({"model_path": str(folder), **kwargs}), MACHINE)


def bytes_held(settled: Settled) -> int:
    """Of all weights of a model that is loaded with this configuration."""
    model = Runner(settled.engine, pages=1).model
    assert isinstance(model, nn.Module)
    numbers = [value for module in model.modules() for _, value in held(module)]
    return sum(value.store.nbytes if isinstance(value, Matrix) else value.nbytes for value in numbers)


CHECKPOINTS: list[dict[str, object]] = [
    {"architecture": "LlamaForCausalLM", "attention_bias": True, "mlp_bias": True},
    {"architecture": "LlamaForCausalLM", "num_key_value_heads": 1, "tie_word_embeddings": True},
    {"architecture": "MistralForCausalLM", "max_shard_size": "100KB"},
    {"architecture": "Qwen2ForCausalLM", "tie_word_embeddings": True},
    {"architecture": "Qwen3ForCausalLM", "head_dim": 32},
]


@pytest.mark.parametrize("kwargs", CHECKPOINTS, ids=lambda kwargs: kwargs["architecture"])
@pytest.mark.parametrize(
    "options", [{}, {"dtype": "float32"}, {"quantization": "int8"}, {"quantization": "int4"}], ids=str
)
def test_weights_are_what_a_model_holds(tmp_path: Path, kwargs: dict[str, object], options: dict[str, object]) -> None:
    folder = tiny_checkpoint(tmp_path, dtype="bfloat16", **kwargs)  # type: ignore[arg-type]  # a table of overrides
    found = plan(folder, **options)
    assert found.ledger.line("weights").bytes == bytes_held(found)


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "float32", "int8"])
def test_the_cache_is_what_torch_allocates(tmp_path: Path, kv_dtype: str) -> None:
    found = plan(tiny_checkpoint(tmp_path), kv_cache_dtype=kv_dtype, max_total_tokens=1000)
    cache = found.engine.cache
    pool = KVPool(found.engine.model, cache.pages, cache.page_size, getattr(torch, kv_dtype))
    assert found.ledger.line("KV cache").bytes == sum(tensor.nbytes for tensor in (*pool.keys, *pool.values))


def test_the_rotary_tables_are_what_the_model_makes(tmp_path: Path) -> None:
    found = plan(tiny_checkpoint(tmp_path), context_length=100)
    rotary = Rotary(found.engine.model, found.engine.context)
    assert found.ledger.line("rotary tables").bytes == rotary.cos_PR.nbytes + rotary.sin_PR.nbytes


def test_the_ledger_knows_how_the_device_cuts_its_work() -> None:
    assert ledger.ATTENTION_KEYS == MOST_TASKS * BLOCK
    assert ledger.ATTENTION_TILE == TILE


def test_every_line_that_can_be_moved_names_an_option(tmp_path: Path) -> None:
    found = plan(tiny_checkpoint(tmp_path))
    assert [line.name for line in found.ledger.lines if not line.option] == ["checkpoint", "runtime"]
    assert [line.name for line in found.ledger.lines if line.mapped] == ["checkpoint"]
    assert not any(line.mapped for line in plan(tmp_path, load_format="dummy").ledger.lines)
    assert all(line.bytes > 0 and line.how for line in found.ledger.lines)


def test_what_fits() -> None:
    fits = Ledger(lines=(), limit_bytes=0, tokens=1000, context=300, rows=8)
    assert (fits.full_contexts, fits.shared_context) == (3, 125)
    fits = Ledger(lines=(), limit_bytes=0, tokens=1000, context=100, rows=8)
    assert (fits.full_contexts, fits.shared_context) == (8, 100)


def test_mapped_memory_does_not_count_against_the_limit() -> None:
    lines = (
        Line(name="own", bytes=60, how="", option="--dtype"),
        Line(name="file", bytes=1000, how="", option="--dtype", mapped=True),
    )
    whole = Ledger(lines=lines, limit_bytes=60, tokens=1, context=1, rows=1)
    assert (whole.private_bytes, whole.mapped_bytes) == (60, 1000)
    whole.check()
    with pytest.raises(ConfigError, match="needs 60 B of memory and the machine grants 59 B"):
        Ledger(lines=lines, limit_bytes=59, tokens=1, context=1, rows=1).check()
