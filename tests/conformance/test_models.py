"""Every architecture and rotary scaling against transformers, and every model against itself in other company."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from stemma.device.models.registry import MODELS
from tests.bodies import BODIES, Body
from tests.checkpoints import MODEL_TYPES, VOCAB_SIZE, tiny_checkpoint
from tests.forward import Runner, engine_config

LENGTH = 96
TOLERANCE = 1e-4
CLEAR_MARGIN = 1e-3  # between the two best tokens: beyond it greedy choices must agree

THETA = {"rope_theta": 10000.0}
ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, **THETA}},
    "dynamic-long": {"rope_parameters": {"rope_type": "dynamic", "factor": 3.0, **THETA},
                     "max_position_embeddings": 32},
    "dynamic-short": {"rope_parameters": {"rope_type": "dynamic", "factor": 3.0, **THETA}},
    "yarn": {
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, **THETA},
        "max_position_embeddings": 128,
    },
    "yarn-mscale": {
        "rope_parameters": {
            "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 16.0,
            "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False, **THETA,
        },
    },
    "yarn-factor": {
        "rope_parameters": {
            "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64, "attention_factor": 1.3,
            **THETA,
        },
    },
    "llama3": {
        "rope_parameters": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64, **THETA,
        },
    },
    "longrope-long": {
        "rope_parameters": {
            "rope_type": "longrope", "short_factor": [1.0 + i / 9 for i in range(8)], "factor": 4.0,
            "long_factor": [1.0 + i for i in range(8)], "original_max_position_embeddings": 64, **THETA,
        },
    },
    "longrope-short": {
        "rope_parameters": {
            "rope_type": "longrope", "short_factor": [1.0 + i / 9 for i in range(8)], "factor": 4.0,
            "long_factor": [1.0 + i for i in range(8)], "original_max_position_embeddings": 256, **THETA,
        },
    },
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama-one-key-head": ("LlamaForCausalLM", {"num_key_value_heads": 1}),
    "llama-no-groups": ("LlamaForCausalLM", {"num_key_value_heads": 4, "head_dim": 8}),
    "llama-gelu": ("LlamaForCausalLM", {"hidden_act": "gelu", "intermediate_size": 51}),
    "mistral-window": ("MistralForCausalLM", {"sliding_window": 9, "head_dim": 24}),
    "mistral-no-window": ("MistralForCausalLM", {"sliding_window": None, "tie_word_embeddings": True}),
    "qwen2-window": ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1}),
    "qwen2-tied": ("Qwen2ForCausalLM", {"tie_word_embeddings": True, "num_attention_heads": 6, "hidden_size": 48}),
    "qwen3-layers": (
        "Qwen3ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 17, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen3-wide-heads": ("Qwen3ForCausalLM", {"head_dim": 40, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-seven": ("Qwen3ForCausalLM", {"num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 56}),
}


def random_tokens(length: int, seed: int = 0) -> list[int]:
    return torch.randint(VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def by_transformers(folder: Path, tokens: list[int]) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    logits: Tensor = model(torch.tensor([tokens])).logits[0]
    return logits.log_softmax(-1)


def assert_agrees(folder: Path, body: Body) -> None:
    """Log-probabilities of all positions; then 64 greedy tokens, judged by one pass of transformers over them."""
    tokens = random_tokens(LENGTH - 64)
    runner = Runner(engine_config(folder, LENGTH, body=body))
    steps = [runner.step([(0, tokens)])[0]]
    for _ in range(64):
        tokens.append(int(steps[-1][-1].argmax()))
        steps.append(runner.step([(0, tokens[-1:])])[0])
    found = torch.cat(steps)[:LENGTH].log_softmax(-1)
    expected = by_transformers(folder, tokens)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    best = expected[LENGTH - 65 : -1].topk(2)
    is_clear = best.values[:, 0] - best.values[:, 1] > CLEAR_MARGIN
    assert is_clear.sum() > 50
    assert torch.equal(best.indices[is_clear, 0], torch.tensor(tokens[LENGTH - 64 :])[is_clear])


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("architecture", MODEL_TYPES)
def test_rotary_scalings_agree_with_transformers(tmp_path: Path, architecture: str, rope: str) -> None:
    assert_agrees(tiny_checkpoint(tmp_path, architecture, **ROPES[rope]), BODIES[0])


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_agree_with_transformers(tmp_path: Path, shape: str, body: Body) -> None:
    architecture, fields = SHAPES[shape]
    assert_agrees(tiny_checkpoint(tmp_path, architecture, **fields), body)


def test_every_architecture_is_tested() -> None:
    assert set(MODELS.names()) == set(MODEL_TYPES)


CASES = [(body, dtype) for body in BODIES for dtype in ("float32", "bfloat16", "float16") if body.computes(dtype)]


@pytest.mark.parametrize(("body", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("shape", ["llama-biases", "mistral-window", "qwen2-tied", "qwen3-seven"])
def test_a_token_has_the_same_bits_alone_batched_and_chunked(
    tmp_path: Path, shape: str, body: Body, dtype: str
) -> None:
    architecture, fields = SHAPES[shape]
    config = engine_config(tiny_checkpoint(tmp_path, architecture, dtype=dtype, **fields), 512, dtype, body=body)
    texts = [random_tokens(length, seed) for seed, length in enumerate((150, 33, 16, 5, 1))]
    alone = [Runner(config, seed).step([(0, text)])[0] for seed, text in enumerate(texts)]
    runner = Runner(config, seed=9, page_size=7)
    generator = torch.Generator().manual_seed(3)
    done: list[list[Tensor]] = [[] for _ in texts]
    left = [list(text) for text in texts]
    while any(left):
        step = []
        for row in torch.randperm(len(texts), generator=generator).tolist():
            count = int(torch.tensor([1, 1, 7, 70])[torch.randint(4, (), generator=generator)])
            if left[row]:
                step.append((row, left[row][:count]))
                del left[row][:count]
        for (row, _), logits in zip(step, runner.step(step), strict=True):
            done[row].append(logits)
    for row, text in enumerate(texts):
        assert torch.equal(torch.cat(done[row]), alone[row]), f"row {row} of {len(text)} tokens"
