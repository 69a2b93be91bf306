"""The whole engine against transformers: sixteen requests with shared prefixes, together, in float32."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from stemma.core.types.output import Logprob
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.tokens import unpack
from tests.checkpoints import tiny_checkpoint
from tests.engine_harness import DrivenEngine, engine_config, request

TOLERANCE = 1e-4
CLEAR_MARGIN = 1e-3  # between the two best tokens: beyond it greedy choices must agree
OUTPUT = 64
CASES: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
    },
    "MistralForCausalLM": {"sliding_window": 21},
    "Qwen2ForCausalLM": {"tie_word_embeddings": True},
    "Qwen3ForCausalLM": {
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        },
        "num_key_value_heads": 1,
    },
}  # fmt: skip


def crowd() -> list[Request]:
    """Prompts of 5 to 100 tokens, of four families with a prefix each. Half want their prompt scored."""
    draw = random.Random(3)
    prefixes = [[draw.randrange(256) for _ in range(length)] for length in (0, 16, 35, 70)]
    sampling = SamplingParams(max_new_tokens=OUTPUT, temperature=0.0, ignore_eos=True, sampling_seed=0)
    return [
        request(
            f"r{i}",
            prefixes[i % 4] + [draw.randrange(256) for _ in range(draw.randrange(5, 30))],
            sampling,
            LogprobSpec(start=0 if i < 8 else -1, top=2, token_ids=(0, 7)),
        )
        for i in range(16)
    ]


@torch.inference_mode()
def by_transformers(model: Any, tokens: list[int]) -> Tensor:
    logits: Tensor = model(torch.tensor([tokens])).logits[0]
    return logits.double().log_softmax(-1)


def assert_close(found: Logprob, expected_V: Tensor) -> None:
    best = expected_V.topk(2)
    pairs = [(found.logprob, expected_V[found.token]), *zip(found.chosen, expected_V[[0, 7]], strict=True)]
    pairs += [(value, expected_V[token]) for token, value in found.top]
    pairs += list(zip((value for _, value in found.top), best.values, strict=True))
    for mine, theirs in pairs:
        assert mine is not None and math.isclose(mine, float(theirs), rel_tol=0, abs_tol=TOLERANCE)


@pytest.mark.parametrize("architecture", CASES)
def test_a_crowd_gets_the_numbers_of_transformers(tmp_path: Path, architecture: str) -> None:
    folder = tiny_checkpoint(tmp_path, architecture, **CASES[architecture])
    engine = DrivenEngine(engine_config(folder, pages=200, step_tokens=50))
    requests = crowd()
    outcomes = engine.run(requests)
    assert engine.stats().mixed_steps > 0
    assert sum(outcome.usage.cached for outcome in outcomes.values()) > 0
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    clear = 0
    for one in requests:
        outcome, prompt = outcomes[one.id], list(unpack(one.tokens))
        expected = by_transformers(model, prompt + outcome.tokens)
        assert [item.token for item in outcome.logprobs] == outcome.tokens and len(outcome.tokens) == OUTPUT
        scored = outcome.prompt_logprobs
        assert [item.token for item in scored] == (prompt if one.logprobs and one.logprobs.start == 0 else [])
        assert not scored or scored[0].logprob is None
        for position, item in enumerate(scored[1:]):
            assert_close(item, expected[position])
        for position, item in enumerate(outcome.logprobs, start=len(prompt) - 1):
            assert_close(item, expected[position])
            best = expected[position].topk(2)
            if best.values[0] - best.values[1] > CLEAR_MARGIN:
                clear += 1
                assert item.token == best.indices[0], f"{one.id} at {position + 1}"
    assert clear > 0.9 * OUTPUT * len(requests)
