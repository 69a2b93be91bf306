"""Acorn's folder in the form of a Hugging Face checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from tools.acorn.model import Acorn, Shape


def config_of(shape: Shape, tokenizer: Tokenizer) -> dict[str, object]:
    """The config of a Qwen3 of this shape."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.query_heads,
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.rope_base,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": shape.layers,
        "tie_word_embeddings": True,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
    }


def save_config(shape: Shape, tokenizer: Tokenizer, folder: Path) -> None:
    """The config and how to generate."""
    (folder / "config.json").write_text(json.dumps(config_of(shape, tokenizer), indent=2) + "\n")
    ends = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    generation = {"eos_token_id": ends, "pad_token_id": ends[1], "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def save_weights(weights: Mapping[str, Tensor], folder: Path) -> None:
    """The weights in bfloat16, put in place at once so that a reader never sees half a file."""
    named = {f"model.{name}": weight.detach().to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    draft = folder / "model.safetensors.tmp"
    save_file(named, draft, metadata={"format": "pt"})
    draft.chmod(0o644)
    draft.replace(folder / "model.safetensors")


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights under the names that `Acorn` gives them."""
    stored = load_file(folder / "model.safetensors")
    return {name.removeprefix("model."): weight.float() for name, weight in stored.items()}


def load_acorn(folder: Path) -> Acorn:
    """The model of a folder, in float32."""
    model = Acorn(Shape())
    model.load_state_dict(load_weights(folder))
    return model.eval()


def folder_bytes(folder: Path) -> int:
    """The size of what is shipped."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file() and path.suffix != ".tmp")
