"""Has a row the bits that it has alone? Kernel by kernel: what no interpreter knows is how a chip's units round.

Products of few rows, of many, and of blocks that the device copies meet the same weights; a query of attention comes in
the tile of a prompt, of a chunk and of a decode.
"""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.kernels import BF16, matrix_of
from benchmarks.gpu.stage import Stage, forget, tell
from benchmarks.gpu.weights import folder_of
from stemma.core.config.families import read_model_spec
from stemma.core.config.model import ModelSpec, matrix_shapes
from stemma.core.types.step import pack_spans
from stemma.device.attention.backend import ATTENTION, Spans
from stemma.device.kv.pool import KVPool
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.table import Ops, ops_of

ROWS = (1, 17, 33, 65, 129, 257, 2049)
CHUNKS = (1, 17, 300)  # queries


def bits(stage: Stage) -> None:
    """A line for each product and for attention: how many rows at once gave other bits."""
    with torch.device(stage.device), torch.inference_mode():
        for model in stage.models:
            spec = read_model_spec(folder_of(stage, model))
            for what, differ in (*_products(stage, ops_of(stage.kernels), spec), _attention(stage, spec)):
                tell("same bits", model=model, what=what, is_right=not differ, differ=differ)
                forget()


def _products(stage: Stage, ops: Ops, spec: ModelSpec) -> Iterator[tuple[str, list[int]]]:
    rows = ROWS[: stage.pick(len(ROWS), 3)]
    for outputs, inputs in matrix_shapes(spec):
        is_gated, most = outputs == 2 * spec.intermediate, 257 if outputs == spec.vocab_size else max(rows)
        matrix, _ = matrix_of(ops, outputs, inputs)
        x_TI = torch.randn(most, inputs, dtype=BF16)

        product = _product(ops, matrix, spec.activation if is_gated else None)
        every = product(x_TI)
        name = f"{'gated ' * is_gated}linear {outputs}x{inputs}"
        yield name, [few for few in rows if few <= most and not torch.equal(product(x_TI[-few:]), every[-few:])]


def _product(ops: Ops, matrix: Matrix, activation: str | None) -> Callable[[Tensor], Tensor]:
    if activation is None:
        return lambda x_TI: ops.linear(x_TI, matrix, None)
    return lambda x_TI: ops.gated_linear(x_TI, matrix, None, activation)


def _attention(stage: Stage, spec: ModelSpec) -> tuple[str, list[int]]:
    layer = msgspec.structs.replace(spec, layers=1, windows=(0,))
    tokens, backend = stage.pick(5000, 40), "triton" if stage.is_accelerated else "reference"
    pool = KVPool(layer, tokens // 16 + 1, 16, BF16)
    attention = ATTENTION[backend](layer, pool, stage.kernels)
    pages_RP = torch.randperm(tokens // 16 + 1, device="cpu").view(1, -1)
    q_TNH = torch.randn(tokens, layer.heads, layer.head_dim, dtype=BF16)
    k_TKH, v_TKH = torch.randn(2, tokens, layer.kv_heads, layer.head_dim, dtype=BF16).unbind()
    at_T = torch.arange(tokens, device="cpu")
    slots_T = (pages_RP[0, at_T // 16] * 16 + at_T % 16).to(stage.device)

    def answer(last: int) -> Tensor:
        """Of the last queries, whose keys are written once more."""
        spans = Spans(pack_spans((0, tokens - last, last, 0)), np.asarray(pages_RP))
        plan = attention.plan(spans)
        return attention.forward(q_TNH[-last:], k_TKH[-last:], v_TKH[-last:], 0, slots_T[-last:], plan)

    every = answer(tokens)
    return "attention", [few for few in CHUNKS if few < tokens and not torch.equal(answer(few), every[-few:])]
