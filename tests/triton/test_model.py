"""A whole model whose every op is in Triton, attention too."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stemma.core.config.families import read_model_spec
from stemma.core.config.quant import Format
from stemma.device.attention.backend import Turn
from stemma.device.attention.triton import TritonAttention
from stemma.device.kv.pool import KVPool
from tests.bodies import Body
from tests.checkpoints import tiny_checkpoint
from tests.conformance.test_models import SHAPES, by_transformers, random_tokens
from tests.forward import Runner, engine_config
from tests.spans import Span, together
from tests.triton.rows import TRITON as OPS
from tests.triton.rows import random

TRITON, PLAIN = Body("triton", "triton"), Body("reference", "reference")


@pytest.mark.parametrize("shape", ["llama-biases", "qwen3-seven"])
def test_it_agrees_with_transformers(tmp_path: Path, shape: str) -> None:
    """A prompt, then decodes."""
    architecture, fields = SHAPES[shape]
    folder = tiny_checkpoint(tmp_path, architecture, **fields)
    runner, tokens = Runner(engine_config(folder, 64, body=TRITON)), random_tokens(20)
    steps = [runner.step([(0, tokens[:17])])[0], *(runner.step([(0, [token])])[0] for token in tokens[17:])]
    expected = by_transformers(folder, tokens)
    torch.testing.assert_close(torch.cat(steps).log_softmax(-1), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_quantised_weights_say_what_the_reference_says(tmp_path: Path, format: Format) -> None:
    """An activation beside the border of two integers may fall to either side."""
    architecture, fields = SHAPES["qwen3-seven"]
    folder, tokens = tiny_checkpoint(tmp_path, architecture, **fields), random_tokens(20)
    found, expected = (
        Runner(engine_config(folder, 64, body=body, weights=format)).step([(0, tokens)])[0] for body in (TRITON, PLAIN)
    )
    assert float((found - expected).norm() / expected.norm()) < 2e-3


def test_a_token_has_the_same_bits_alone_batched_and_chunked(tmp_path: Path) -> None:
    architecture, fields = SHAPES["qwen3-seven"]
    folder = tiny_checkpoint(tmp_path, architecture, dtype="bfloat16", **fields)
    config = engine_config(folder, 64, "bfloat16", body=TRITON)
    texts = [random_tokens(length, seed) for seed, length in enumerate((26, 9, 1))]
    alone = [Runner(config, seed).step([(0, text)])[0] for seed, text in enumerate(texts)]
    runner, done = Runner(config, seed=9, page_size=7), [list[Tensor]() for _ in texts]
    for step in ([(0, 0, 5), (1, 0, 1)], [(1, 1, 8), (0, 5, 25)], [(2, 0, 1), (1, 8, 9), (0, 25, 26)]):
        found = runner.step([(row, texts[row][begin:end]) for row, begin, end in step])
        for (row, _, _), logits in zip(step, found, strict=True):
            done[row].append(logits)
    for row, expected in enumerate(alone):
        assert torch.equal(torch.cat(done[row]), expected), f"row {row}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_turning_heads_on_their_way_into_the_pool_changes_no_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    spec = read_model_spec(tiny_checkpoint(tmp_path))
    heads, width = spec.heads + 2 * spec.kv_heads, spec.head_dim
    x, weight, angle = random(6, heads, width), random(2 * width, seed=1), random(6, width // 2, seed=2)
    places, slots = torch.arange(6), torch.arange(6) + 16
    spans, turn = together([Span(0, 6, torch.tensor([1]))]), Turn(weight, 1e-6, angle.cos(), angle.sin(), places)
    one, other = (TritonAttention(spec, KVPool(spec, 2, 16, dtype), "triton") for _ in range(2))
    found = one.turn_and_attend(x, turn, 0, slots, one.plan(spans))
    turned = OPS.norm_rotate(x[:, : heads - spec.kv_heads], weight, spec.heads, 1e-6, *turn[2:])
    q, k = turned.split_with_sizes((spec.heads, spec.kv_heads), dim=1)
    assert torch.equal(other.forward(q, k, x[:, -spec.kv_heads :], 0, slots, other.plan(spans)), found)
    assert torch.equal(one.pool.keys[0], other.pool.keys[0]) and torch.equal(one.pool.values[0], other.pool.values[0])
