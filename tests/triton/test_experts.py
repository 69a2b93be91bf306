"""Layers of many experts: the reference against transformers, Triton against the reference, rows against themselves."""

import pytest
import torch
from torch import Tensor
from transformers import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from stemma.device.ops.reference import experts as reference
from stemma.device.ops.triton import experts as triton
from tests.triton.rows import DTYPES, assert_near, random

every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)
EXPERTS, EACH, WIDTH, INNER = 6, 3, 40, 24


def weights(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    gate_up = random(EXPERTS, 2 * INNER, WIDTH, dtype=dtype, seed=1) * 0.2
    return gate_up, random(EXPERTS, WIDTH, INNER, dtype=dtype, seed=2) * 0.2


@pytest.mark.parametrize("is_normed", [True, False])
def test_the_reference_computes_what_transformers_does(is_normed: bool) -> None:
    config = Qwen3MoeConfig(
        hidden_size=WIDTH,
        moe_intermediate_size=INNER,
        num_experts=EXPERTS,
        num_experts_per_tok=EACH,
        norm_topk_prob=is_normed,
    )
    block, x, (gate_up, down) = Qwen3MoeSparseMoeBlock(config).eval(), random(7, WIDTH), weights(torch.float32)
    router = random(EXPERTS, WIDTH, seed=3)
    with torch.no_grad():
        block.gate.weight.copy_(router)
        block.experts.gate_up_proj.copy_(gate_up)
        block.experts.down_proj.copy_(down)
        expected = block(x.unsqueeze(0))
    choice = reference.route(x @ router.T, EACH, is_normed)
    found = reference.experts(x, gate_up, down, choice, "silu")
    torch.testing.assert_close(found, (expected[0] if isinstance(expected, tuple) else expected)[0], atol=2e-6, rtol=0)


@every_type
@pytest.mark.parametrize("is_normed", [True, False])
def test_route(dtype: torch.dtype, is_normed: bool) -> None:
    logits = random(9, 100, dtype=dtype).round(decimals=1)  # some are equal: the lower number first
    found, expected = triton.route(logits, 8, is_normed), reference.route(logits, 8, is_normed)
    assert torch.equal(found.experts_TK, expected.experts_TK)
    torch.testing.assert_close(found.weights_TK, expected.weights_TK, rtol=1e-5, atol=0)


@every_type
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_experts(dtype: torch.dtype, rows: int) -> None:
    x, choice = random(rows, WIDTH, dtype=dtype), reference.route(random(rows, EXPERTS, seed=4), EACH, True)
    found = triton.experts(x, *weights(dtype), choice, "silu")
    assert_near(found, reference.experts(x, *weights(dtype), choice, "silu"))


@every_type
def test_a_row_has_the_bits_that_it_has_alone(dtype: torch.dtype) -> None:
    """Also where all rows meet the same experts, and where one meets nobody's."""
    x, logits = random(60, WIDTH, dtype=dtype), random(60, EXPERTS, seed=4)
    logits[:50, :EACH] += 20
    choice = triton.route(logits, EACH, True)
    every = triton.experts(x, *weights(dtype), choice, "silu")
    for at in (0, 7, 49, 55, 59):
        alone = reference.Choice(*(part[at : at + 1] for part in choice))
        assert torch.equal(triton.experts(x[at : at + 1], *weights(dtype), alone, "silu")[0], every[at])
