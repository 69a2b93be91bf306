"""Launches worth compiling: a step of a real model, and bodies that it has no need of, on tensors without memory.

Shapes: T rows of a step, D model width (4096: Qwen3-8B).
"""

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from benchmarks.gpu.whole_step import whole_step
from stemma.core.base.numbers import round_up
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.core.config.quant import PANEL, Format, Quantization, row_bytes
from stemma.device.attention.triton import TritonAttention
from stemma.device.kv.pool import KVPool
from stemma.device.ops.cpu.sampling import WANT
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.table import ops_of
from stemma.device.ops.triton.experts import experts, route
from stemma.device.ops.triton.norm import add_rms_norm_quantise
from stemma.device.ops.triton.score import score

OPS = ops_of("triton")
WIDTH = 4096
VOCABULARY = 151_936
BF16 = torch.bfloat16


def nothing(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    """A tensor that only has a shape."""
    return torch.empty(shape, dtype=dtype, device="meta")


def weight(format: Format, outputs: int, inputs: int) -> Matrix:
    bytes = row_bytes(format, inputs, "bfloat16")
    return Matrix(format, BF16, outputs, inputs, nothing(round_up(outputs, PANEL), bytes, dtype=torch.uint8))


def product(outputs: int, inputs: int, rows: int, format: Format = "plain") -> None:
    OPS.linear(nothing(rows, inputs), weight(format, outputs, inputs), None)


def gated_product(outputs: int, inputs: int, rows: int, format: Format = "plain") -> None:
    OPS.gated_linear(nothing(rows, inputs), weight(format, outputs, inputs), None, "silu")


def quantised_rows(format: Format) -> None:
    """What stands before products: a norm that quantises, and a table."""
    x_TD = nothing(256, WIDTH)
    add_rms_norm_quantise(x_TD, x_TD, nothing(WIDTH), 1e-6)
    OPS.embed(nothing(256, dtype=torch.int64), weight(format, VOCABULARY, WIDTH))


def activation() -> None:
    for name in ("silu", "gelu", "gelu_tanh"):
        OPS.gated(nothing(256, 2 * 12288), name)


def heads() -> None:
    """Of a model that does not norm them, for attention that does not turn them itself."""
    angles_PR = nothing(4096, 64, dtype=torch.float32)
    OPS.norm_rotate(nothing(256, 40, 128), None, 32, 1e-6, angles_PR, angles_PR, nothing(256, dtype=torch.int64))


def logprobs() -> None:
    logits_SV, tokens_S = nothing(256, VOCABULARY, dtype=torch.float32), nothing(256, dtype=torch.int64)
    score(logits_SV, tokens_S, nothing(256, WANT.itemsize, dtype=torch.uint8), best=20, chosen=4)


def mixture(rows: int) -> None:
    choice = route(nothing(rows, 128), 8, True)
    x_TD = nothing(rows, 2048)
    experts(x_TD, nothing(128, 2 * 768, 2048), nothing(128, 2048, 768), choice, "silu")


def attention(kv_dtype: torch.dtype, width: int, window: int = 0) -> None:
    """Prompts, then decodes."""
    spec = ModelSpec(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        vocab_size=VOCABULARY,
        hidden=WIDTH,
        layers=1,
        heads=32,
        kv_heads=8,
        head_dim=width,
        intermediate=12288,
        norm_eps=1e-6,
        rope=RopeSpec(),
        max_context=40960,
        windows=(window,),
        tied=False,
    )
    pool = KVPool(spec, 1, 16, kv_dtype)
    stores = tuple(nothing(65536, *store.shape[1:], dtype=kv_dtype) for store in pool.keys)
    pool.keys = pool.values = stores
    backend = TritonAttention(spec, pool, "triton")
    for tokens in (8192, 256):
        plan = backend.static_plan(256, tokens, nothing(256, 2560, dtype=torch.int32))
        q_TNH, k_TKH = nothing(tokens, 32, width), nothing(tokens, 8, width)
        backend.forward(q_TNH, k_TKH, k_TKH, 0, nothing(tokens, dtype=torch.int64), plan)
    if window:  # others are laid out in every step
        backend.lay_out(plan)


CASES: dict[str, Callable[[], None]] = {
    "whole step": whole_step,
    "heads": heads,
    "gated": activation,
    "attention, window of 4096": partial(attention, BF16, 128, 4096),
    "attention, heads of 256": partial(attention, BF16, 256),
    "attention, cache of 8 bits": partial(attention, torch.int8, 128),
    "attention, cache of 8 bits, heads of 256": partial(attention, torch.int8, 256),
    "score": logprobs,
    "experts, 1 row": partial(mixture, 1),
    "experts, 8192 rows": partial(mixture, 8192),
    "linear, 64 rows": partial(product, 4096, 12288, 64),
    "gated linear, 64 rows": partial(gated_product, 24576, 4096, 64),
    "gated linear in chunks, 8192 rows": partial(gated_product, 6144, 1024, 8192),
    **{f"{format}, rows": partial(quantised_rows, format) for format in get_args(Quantization)},
    **{f"{format}, linear, 1 row": partial(product, 4096, 12288, 1, format) for format in get_args(Quantization)},
    **{
        f"{format}, gated linear, 8192 rows": partial(gated_product, 24576, 4096, 8192, format)
        for format in get_args(Quantization)
    },
}
