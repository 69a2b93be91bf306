"""config.json of four families, in the spellings of several years."""

import json
from pathlib import Path
from typing import Any

import pytest

from stemma.core.base.errors import CheckpointError
from stemma.core.config.families import read_model_spec
from stemma.core.config.model import ModelSpec, kv_bytes_per_token, rotary_table_bytes

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "torch_dtype": "float16",
}


def read(folder: Path, **fields: Any) -> ModelSpec:
    (folder / "config.json").write_text(json.dumps({key: x for key, x in (BASE | fields).items() if x != "absent"}))
    return read_model_spec(folder)


def family(name: str, **fields: Any) -> dict[str, Any]:
    return {"architectures": [f"{name}ForCausalLM"], **fields}


def test_a_sparse_config_gets_the_defaults_of_its_family(tmp_path: Path) -> None:
    spec = read(tmp_path)
    assert (spec.kv_heads, spec.head_dim, spec.max_context) == (4, 16, 2048)
    assert (spec.rope.kind, spec.rope.theta, spec.norm_eps) == ("default", 10000.0, 1e-6)
    assert (spec.dtype, spec.tied, spec.bos_id, spec.stop_ids) == ("float16", False, 1, (2,))
    assert spec.windows == (0, 0, 0, 0)
    assert read(tmp_path, **family("Qwen3", num_attention_heads=32)).head_dim == 128
    assert read(tmp_path, **family("Mistral", num_attention_heads=8)).windows == (4096,) * 4
    assert read(tmp_path, **family("Mistral", num_attention_heads=8, sliding_window=None)).windows == (0,) * 4


def test_biases_and_norms_follow_the_family(tmp_path: Path) -> None:
    llama = read(tmp_path, attention_bias=True, mlp_bias=True)
    assert (llama.qkv_bias, llama.output_bias, llama.mlp_bias, llama.qk_norm) == (True, True, True, False)
    qwen2 = read(tmp_path, **family("Qwen2", num_key_value_heads=2))
    assert (qwen2.qkv_bias, qwen2.output_bias, qwen2.mlp_bias, qwen2.qk_norm) == (True, False, False, False)
    qwen3 = read(tmp_path, **family("Qwen3", num_key_value_heads=2))
    assert (qwen3.qkv_bias, qwen3.output_bias, qwen3.mlp_bias, qwen3.qk_norm) == (False, False, False, True)
    mistral = read(tmp_path, **family("Mistral", num_key_value_heads=2))
    assert (mistral.qkv_bias, mistral.output_bias, mistral.mlp_bias, mistral.qk_norm) == (False, False, False, False)


def test_old_and_new_rotary_spellings_mean_the_same(tmp_path: Path) -> None:
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    old = read(tmp_path, rope_theta=5e5, rope_scaling={"rope_type": "llama3", **llama3})
    new = read(tmp_path, rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **llama3})
    assert old == new
    assert (old.rope.kind, old.rope.theta, old.rope.factor, old.rope.original_context) == ("llama3", 5e5, 8.0, 64)
    older = read(tmp_path, rope_scaling={"type": "linear", "factor": 2.0})
    assert (older.rope.kind, older.rope.factor, older.rope.theta) == ("linear", 2.0, 10000.0)


def test_the_original_context_comes_from_where_the_kind_keeps_it(tmp_path: Path) -> None:
    dynamic = read(tmp_path, max_position_embeddings=128, rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    assert dynamic.rope.original_context == 128
    factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    outside = read(
        tmp_path,
        max_position_embeddings=256,
        original_max_position_embeddings=64,
        rope_scaling={"type": "longrope", **factors},
    )
    assert (outside.rope.original_context, outside.rope.factor) == (64, 4.0)


def test_qwen_slides_where_its_config_says(tmp_path: Path) -> None:
    qwen = family("Qwen2", num_key_value_heads=2, sliding_window=8, max_window_layers=2)
    assert read(tmp_path, **qwen).windows == (0, 0, 0, 0)
    assert read(tmp_path, **qwen, use_sliding_window=True).windows == (0, 0, 8, 8)
    kinds = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    assert read(tmp_path, **qwen, use_sliding_window=True, layer_types=kinds).windows == (8, 0, 0, 8)


def test_end_tokens_come_from_the_generation_config_first(tmp_path: Path) -> None:
    assert read(tmp_path, eos_token_id=7).stop_ids == (7,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert read(tmp_path, eos_token_id=7).stop_ids == (7, 9)
    (tmp_path / "generation_config.json").write_text("{}")
    assert read(tmp_path, eos_token_id=[5, 6]).stop_ids == (5, 6)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (family("Mamba"), r"\['MambaForCausalLM'\] is not served; there are LlamaForCausalLM"),
        ({"architectures": "absent"}, "architectures None"),
        ({"hidden_size": "64"}, r"hidden_size"),
        ({"hidden_size": "absent"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3 key heads"),
        ({"head_dim": 15}, "15 of 15 elements"),
        ({"torch_dtype": "int8"}, "'int8' is not served"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"rope_scaling": {"type": "warp", "factor": 2.0}}, "'warp' is not served; there are default"),
        ({"rope_scaling": {"type": "linear"}}, "'linear' needs a factor"),
        ({"rope_scaling": {"type": "llama3", "factor": 2.0}}, "low_freq_factor"),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 8}}, "short_factor has 1"),
        ({"hidden_act": "mish"}, "'mish'"),
        (
            family("Qwen3", num_key_value_heads=2, use_sliding_window=True, layer_types=["full_attention"]),
            "layer_types names 1 layers of 4",
        ),
        (
            family("Qwen3", num_key_value_heads=2, use_sliding_window=True, layer_types=["chunked"] * 4),
            "'chunked'",
        ),
    ],
)
def test_what_cannot_be_served_names_the_file_and_the_field(tmp_path: Path, fields: Any, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as error:
        read(tmp_path, **fields)
    assert str(tmp_path / "config.json") in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"architectures": ["LlamaForCausalLM"], "hidden_size": 1e999}', "\xff"]
)
def test_a_damaged_config_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_model_spec(tmp_path)


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        read_model_spec(tmp_path / "nowhere")


def test_bytes_are_arithmetic(tmp_path: Path) -> None:
    spec = read(tmp_path, num_key_value_heads=2)
    assert kv_bytes_per_token(spec, "bfloat16") == 2 * 4 * 2 * 16 * 2
    assert kv_bytes_per_token(spec, "int8") == 2 * 4 * 2 * (16 + 4)
    assert kv_bytes_per_token(spec, "float32") == 2 * kv_bytes_per_token(spec, "float16")
    assert rotary_table_bytes(spec, 100) == 100 * (8 + 8) * 4
