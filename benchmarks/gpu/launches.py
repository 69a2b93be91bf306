"""Launches worth compiling: bodies at the shapes of real models, on tensors without memory.

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
from stemma.device.ops.cpu.sampling import ASK, WANT
from stemma.device.ops.inputs import Tables
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.table import ops_of
from stemma.device.ops.triton.experts import experts, route
from stemma.device.ops.triton.heads import norm_rotate_write
from stemma.device.ops.triton.inputs import fill_inputs
from stemma.device.ops.triton.norm import add_rms_norm_quantise
from stemma.device.ops.triton.sample import sample
from stemma.device.ops.triton.score import score

OPS = ops_of("triton")
WIDTH = 4096
VOCABULARY = 151_936
BF16 = torch.bfloat16


def nothing(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    """A tensor that only has a shape."""
    return torch.empty(shape, dtype=dtype, device="meta")


def norm() -> None:
    x_TD = nothing(256, WIDTH)
    OPS.add_rms_norm(x_TD, x_TD, nothing(WIDTH), 1e-6)
    OPS.add_rms_norm(x_TD, None, nothing(WIDTH), 1e-6)


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


def step_inputs() -> None:
    columns = (nothing(256, dtype=torch.int64) for _ in range(3))
    tables = Tables(16, nothing(256, 4097, dtype=torch.int32), nothing(256, 257, dtype=torch.int64), *columns)
    fill_inputs(nothing(3, 8192, dtype=torch.int64), nothing(3, 256, dtype=torch.int64), tables)


def rows() -> None:
    OPS.take(nothing(8192, WIDTH), nothing(256, dtype=torch.int64))


def activation() -> None:
    for name in ("silu", "gelu", "gelu_tanh"):
        OPS.gated(nothing(256, 2 * 12288), name)


def heads() -> None:
    x_TXH, cache_SKH, angles_PR = nothing(256, 48, 128), nothing(65536, 8, 128), nothing(4096, 64, dtype=torch.float32)
    places_T = nothing(256, dtype=torch.int64)
    norm_rotate_write(x_TXH, nothing(256), 32, 1e-6, angles_PR, angles_PR, places_T, cache_SKH, cache_SKH, places_T)
    OPS.norm_rotate(x_TXH[:, :40], None, 32, 1e-6, angles_PR, angles_PR, places_T)


def draw() -> None:
    logits_SV = nothing(256, VOCABULARY, dtype=torch.float32)
    sample(logits_SV, nothing(256, ASK.itemsize, dtype=torch.uint8))


def logprobs() -> None:
    logits_SV, tokens_S = nothing(256, VOCABULARY, dtype=torch.float32), nothing(256, dtype=torch.int64)
    score(logits_SV, tokens_S, nothing(256, WANT.itemsize, dtype=torch.uint8), best=20, chosen=4)


def mixture(rows: int) -> None:
    choice = route(nothing(rows, 128), 8, True)
    x_TD = nothing(rows, 2048)
    experts(x_TD, nothing(128, 2 * 768, 2048), nothing(128, 2048, 768), choice, "silu")


def attention(kv_dtype: torch.dtype, width: int, *windows: int) -> None:
    spec = ModelSpec(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        vocab_size=VOCABULARY,
        hidden=WIDTH,
        layers=len(windows),
        heads=32,
        kv_heads=8,
        head_dim=width,
        intermediate=12288,
        norm_eps=1e-6,
        rope=RopeSpec(),
        max_context=40960,
        windows=windows,
        tied=False,
    )
    pool = KVPool(spec, 1, 16, kv_dtype)
    stores = tuple(nothing(65536, *store.shape[1:], dtype=kv_dtype) for store in pool.keys)
    pool.keys = pool.values = stores
    backend = TritonAttention(spec, pool, "triton")
    plan = backend.static_plan(256, 8192, nothing(256, 2560, dtype=torch.int32))
    backend.lay_out(plan)
    q_TNH, k_TKH = nothing(8192, 32, width), nothing(8192, 8, width)
    for layer in range(len(windows)):
        backend.forward(q_TNH, k_TKH, k_TKH, layer, nothing(8192, dtype=torch.int64), plan)


CASES: dict[str, Callable[[], None]] = {
    "inputs": step_inputs,
    "rows": rows,
    "norm": norm,
    "heads": heads,
    "gated": activation,
    "attention": partial(attention, BF16, 128, 0, 4096),
    "attention, heads of 256": partial(attention, BF16, 256, 0),
    "attention, cache of 8 bits": partial(attention, torch.int8, 128, 0),
    "attention, cache of 8 bits, heads of 256": partial(attention, torch.int8, 256, 0),
    "sample": draw,
    "score": logprobs,
    "whole step": whole_step,
    "experts, 1 row": partial(mixture, 1),
    "experts, 8192 rows": partial(mixture, 8192),
    **{f"gated linear 24576 x 4096, {rows} rows": partial(gated_product, 24576, 4096, rows) for rows in (1, 64, 8192)},
    **{
        f"{format}, {name}, {rows} rows": partial(run, outputs, inputs, rows, format)
        for format in get_args(Quantization)
        for name, run, outputs, inputs in (
            ("linear", product, 4096, 12288),
            ("gated linear", gated_product, 24576, 4096),
        )
        for rows in (1, 8192)
    },
    **{f"{format}, rows": partial(quantised_rows, format) for format in get_args(Quantization)},
    **{
        f"linear {outputs} x {inputs}, {rows} rows": partial(product, outputs, inputs, rows)
        for outputs, inputs, rows in (
            *((4096, 12288, 1), (4096, 12288, 64), (4096, 12288, 8192)),  # in chunks
            (151_936, 4096, 1),
        )
    },
}
