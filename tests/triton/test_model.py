"""A whole model whose every op is in Triton, attention too."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.bodies import Body
from tests.checkpoints import tiny_checkpoint
from tests.conformance.test_models import SHAPES, by_transformers, random_tokens
from tests.forward import Runner, engine_config

TRITON = Body("triton", "triton")


@pytest.mark.parametrize("shape", ["llama-biases", "qwen3-seven"])
def test_it_agrees_with_transformers(tmp_path: Path, shape: str) -> None:
    """A prompt, then decodes."""
    architecture, fields = SHAPES[shape]
    folder = tiny_checkpoint(tmp_path, architecture, **fields)
    runner, tokens = Runner(engine_config(folder, 64, body=TRITON)), random_tokens(20)
    steps = [runner.step([(0, tokens[:17])])[0], *(runner.step([(0, [token])])[0] for token in tokens[17:])]
    expected = by_transformers(folder, tokens)
    torch.testing.assert_close(torch.cat(steps).log_softmax(-1), expected, atol=1e-4, rtol=0)


def test_a_token_has_the_same_bits_alone_batched_and_chunked(tmp_path: Path) -> None:
    architecture, fields = SHAPES["qwen3-seven"]
    folder = tiny_checkpoint(tmp_path, architecture, dtype="bfloat16", **fields)
    config = engine_config(folder, 256, "bfloat16", body=TRITON)
    texts = [random_tokens(length, seed) for seed, length in enumerate((40, 12, 1))]
    alone = [Runner(config, seed).step([(0, text)])[0] for seed, text in enumerate(texts)]
    runner, done = Runner(config, seed=9, page_size=7), [list[Tensor]() for _ in texts]
    for step in ([(0, 0, 5), (1, 0, 1)], [(1, 1, 11), (0, 5, 39)], [(2, 0, 1), (1, 11, 12), (0, 39, 40)]):
        found = runner.step([(row, texts[row][begin:end]) for row, begin, end in step])
        for (row, _, _), logits in zip(step, found, strict=True):
            done[row].append(logits)
    for row, expected in enumerate(alone):
        assert torch.equal(torch.cat(done[row]), expected), f"row {row}"
