"""Checkpoints of every storage type, whole and in shards, sound and damaged."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stemma.core.base.errors import CheckpointError
from stemma.core.config.families import read_model_spec
from stemma.core.config.model import parameter_count
from stemma.core.config.quant import Format, weight_bytes
from stemma.device.layers.build import Build
from stemma.device.layers.rope import Rotary
from stemma.device.models.llama import Llama
from stemma.device.weights.load import load_safetensors
from stemma.device.weights.places import places
from tests.bodies import NATIVE
from tests.checkpoints import tiny_checkpoint
from tests.forward import Runner, engine_config
from tests.matrices import REFERENCE

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def logits(folder: Path, dtype: str = "float32", load_format: str = "auto") -> Tensor:
    return Runner(engine_config(folder, 64, dtype, load_format)).step([(0, TOKENS)])[0]


def change(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> Path:
    """Rewrite the folder's only weight file."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path)


def test_shards_load_like_one_file(tmp_path: Path) -> None:
    whole = tiny_checkpoint(tmp_path / "whole")
    shards = tiny_checkpoint(tmp_path / "shards", max_shard_size="60KB")
    assert len(list(shards.glob("*.safetensors"))) > 3
    assert torch.equal(logits(whole), logits(shards))


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("computed", ["float32", "bfloat16", "float16"])
def test_any_storage_type_computes_in_any_type(tmp_path: Path, stored: str, computed: str) -> None:
    """As if the tensors had been converted before they were stored."""
    folder = tiny_checkpoint(tmp_path, dtype=stored)
    found = logits(folder, computed)

    def convert(tensors: dict[str, Tensor]) -> None:
        tensors.update({name: tensor.to(getattr(torch, computed)) for name, tensor in tensors.items()})

    change(folder, convert)
    assert torch.equal(found, logits(folder, computed))


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, max_shard_size="60KB")
    heard: list[tuple[int, int]] = []
    model = Llama(build_of(folder))
    load_safetensors(
        places(model, Llama.names, REFERENCE.lay), folder, frozenset(), lambda done, total: heard.append((done, total))
    )
    assert heard == sorted(heard)
    assert len(heard) > 20
    assert heard[-1][0] == heard[-1][1] == sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def build_of(folder: Path) -> Build:
    """Enough to make layers, not to run them."""
    runner = Runner(engine_config(folder, 64, load_format="dummy"), pages=1)
    spec = read_model_spec(folder)
    return Build(spec, REFERENCE, runner.attention, Rotary(spec, 64), torch.float32, "plain")


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
        ("Qwen2ForCausalLM", {"tie_word_embeddings": True}),
        ("Qwen3ForCausalLM", {"attention_bias": True}),
        ("MistralForCausalLM", {"num_key_value_heads": 4}),
    ],
)
def test_places_are_the_checkpoint_s_tensors_and_the_parameters_are_counted(
    tmp_path: Path, architecture: str, fields: dict[str, Any]
) -> None:
    folder = tiny_checkpoint(tmp_path, architecture, **fields)
    stored = load_file(folder / "model.safetensors")
    found = places(Llama(build_of(folder)), Llama.names, REFERENCE.lay)
    assert {name: tuple(place.shape) for name, place in found.items()} == {
        name: tuple(x.shape) for name, x in stored.items()
    }
    assert parameter_count(read_model_spec(folder)) == sum(x.numel() for x in stored.values())


def test_dummy_weights_need_config_alone_and_follow_the_seed(tmp_path: Path, folder: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((folder / "config.json").read_bytes())
    first = logits(bare, load_format="dummy")
    assert torch.equal(first, logits(bare, load_format="dummy"))
    assert first.isfinite().all()
    assert first.std() > 0


def test_known_harmless_tensors_are_skipped(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, "LlamaForCausalLM", tie_word_embeddings=True)
    before = logits(folder)

    def add(tensors: dict[str, Tensor]) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        tensors["lm_head.weight"] = torch.ones(264, 64)

    change(folder, add)
    assert torch.equal(logits(folder), before)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda x: x.pop("model.norm.weight"), "tensor 'model.norm.weight' is missing"),
        (
            lambda x: [x.pop(name) for name in list(x) if ".1." in name],
            r"tensor 'model.layers.1.* and 10 more tensors are",
        ),
        (lambda x: x.update(extra=torch.ones(2)), "tensor 'extra' has no place"),
        (
            lambda x: x.update({"model.layers.1.self_attn.k_proj.weight": torch.ones(31, 64)}),
            r"k_proj.weight' has shape \(31, 64\); config.json asks for \(32, 64\)",
        ),
        (lambda x: x.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)}), "'model.norm.weight' is I8"),
    ],
)
def test_a_wrong_tensor_names_itself_and_its_file(
    folder: Path, edit: Callable[[dict[str, Tensor]], Any], complaint: str
) -> None:
    file = change(folder, edit)
    with pytest.raises(CheckpointError, match=complaint) as error:
        logits(folder)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" * 16 + content[16:],
        lambda content: content[:20] + b"!" + content[21:],
    ],
)
def test_a_damaged_file_is_one_clear_error(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or cannot be read"):
        logits(folder)


def test_a_folder_without_safetensors_says_what_to_do(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="convert its weights to safetensors"):
        logits(folder)


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, max_shard_size="60KB")
    index = folder / "model.safetensors.index.json"
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=rf"{shard.name} does not exist; .*index\.json says"):
        logits(folder)
    (tmp_path / "elsewhere").rename(shard)
    content = json.loads(index.read_text())
    twice = sorted(folder.glob("*.safetensors"))[0]
    (folder / "twice.safetensors").write_bytes(twice.read_bytes())
    content["weight_map"]["x"] = "twice.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="already in another file"):
        logits(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        logits(folder)


LOAD_AND_WATCH = """
import sys
from pathlib import Path
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from stemma.device.models.registry import load_model
from tests.bodies import BODIES
from tests.forward import engine_config
import torch

def private_bytes():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10

config = engine_config(sys.argv[1], 64, body=BODIES[0] if sys.argv[2] == "plain" else BODIES[-1], weights=sys.argv[2])
attention = ATTENTION["reference"](config.model, KVPool(config.model, 1, 16, torch.float32), "reference")
before, peak = private_bytes(), 0
def watch(done, total):
    global peak
    peak = max(peak, private_bytes())
model = load_model(config, attention, watch)
print(peak - before)
"""


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("format", get_args(Format) if NATIVE else ("plain",))
def test_no_weight_is_in_private_memory_twice(tmp_path: Path, stored: torch.dtype, format: Format) -> None:
    shape = {"vocab_size": 8192, "hidden_size": 512, "intermediate_size": 2048, "tie_word_embeddings": True}
    config = tiny_checkpoint(tmp_path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | shape))
    waiting = places(Llama(build_of(tmp_path)), Llama.names, REFERENCE.lay)
    shapes = {name: torch.Size(place.shape) for name, place in waiting.items()}
    save_file(
        {name: torch.zeros(shape, dtype=stored) for name, shape in shapes.items()}, tmp_path / "model.safetensors"
    )
    command = [sys.executable, "-c", LOAD_AND_WATCH, str(tmp_path), format]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    weights = weight_bytes(format, read_model_spec(tmp_path), "float32")
    largest = 4 * max(shape.numel() for shape in shapes.values())
    assert 0.9 * weights < int(ran.stdout) <= 1.1 * weights + largest
