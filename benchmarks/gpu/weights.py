"""Models of real shapes with random weights, written as checkpoints: every engine of a run reads the same bytes."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.stage import Stage, tell

CONTEXT = 40960
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "qwen3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
}


def folder_of(stage: Stage, name: str) -> Path:
    return Path(stage.folder) / name


def write(stage: Stage) -> None:
    """Make all models of the run that are not there yet."""
    for name in stage.models:
        began, folder = time.perf_counter(), folder_of(stage, name)
        if not (folder / "tokenizer.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(name, stage.device, folder)
        tell(name, bytes=sum(each.stat().st_size for each in folder.iterdir()), seconds=time.perf_counter() - began)


def _make(name: str, device: str, folder: Path) -> None:
    """Never zeros; norms around one; a head of wide logits, so that greedy choices have a margin."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        dtype=torch.bfloat16,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **SHAPES[name],
    )
    config.architectures = ["Qwen3ForCausalLM"]
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]  # its library
    with torch.no_grad():
        for parameter in model.parameters():
            _ = parameter.normal_(0, 0.02) if parameter.dim() > 1 else parameter.uniform_(0.9, 1.1)
        model.get_output_embeddings().weight.mul_(4)
    model.save_pretrained(folder, max_shard_size="4GB")
    _write_tokenizer(folder, SHAPES[name]["vocab_size"])


def _write_tokenizer(folder: Path, size: int) -> None:
    """Words t0, t1, ...: nothing is tokenised here, but every engine wants to see one."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"t{id}": id for id in range(size)}, unk_token="t0")).save(
        str(folder / "tokenizer.json")
    )
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "unk_token": "t0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
