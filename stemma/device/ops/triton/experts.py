"""A feed-forward layer of many experts in Triton: rows are sorted by expert, and products go expert by expert.

A pair is a row and one of its experts. The order of summation of a product is that of linear.py without chunks, whoever
else meets the same expert.

Shapes: T rows, E experts, K of them for a row, P pairs (T x K), D model width, I inputs, O outputs, J twice the width
of an expert.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.reference.experts import Choice
from stemma.device.ops.triton.gated import gated
from stemma.device.ops.triton.launch import early, follow, stages
from stemma.device.ops.triton.linear import round_of
from stemma.device.ops.triton.rules import SHAPES

_BLOCK = 1024


@triton.jit
def _route(
    experts_TK, weights_TK, logits_TE, E: tl.constexpr, K: tl.constexpr, UP: tl.constexpr, KUP: tl.constexpr,
    NORMED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    row = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, UP)
    k = tl.arange(0, KUP)
    logits = tl.load(logits_TE + row * E + e, mask=e < E, other=-float("inf")).to(tl.float32)
    weights = tl.exp(logits - tl.max(logits, 0))
    total = tl.sum(weights, 0)
    shares = tl.where(e < E, tl.math.div_rn(weights, total), -1.0)
    best_K = tl.zeros((KUP,), tl.int32)
    share_K = tl.zeros((KUP,), tl.float32)
    for rank in tl.static_range(K):
        share, expert = tl.max(shares, 0, return_indices=True)
        best_K = tl.where(k == rank, expert, best_K)
        share_K = tl.where(k == rank, share, share_K)
        shares = tl.where(e == expert, -1.0, shares)
    if NORMED:
        share_K = tl.math.div_rn(share_K, tl.sum(share_K, 0))
    tl.store(experts_TK + row * K + k, best_K, mask=k < K)
    tl.store(weights_TK + row * K + k, share_K, mask=k < K)


@triton.jit(do_not_specialize=["P"])
def _sort(order_P, first_E, count_E, experts_P, P, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    """A program for each expert; pairs of one expert keep their order."""
    follow(EARLY)
    expert = tl.program_id(0)
    first = 0
    count = 0
    for begin in range(0, P, BLOCK):
        p = begin + tl.arange(0, BLOCK)
        met = tl.load(experts_P + p, mask=p < P, other=0x7FFFFFFF)
        first += tl.sum((met < expert).to(tl.int32), 0)
        count += tl.sum((met == expert).to(tl.int32), 0)
    tl.store(first_E + expert, first)
    tl.store(count_E + expert, count)
    if count > 0:
        for begin in range(0, P, BLOCK):
            p = begin + tl.arange(0, BLOCK)
            own = (tl.load(experts_P + p, mask=p < P, other=0x7FFFFFFF) == expert).to(tl.int32)
            tl.store(order_P + first + tl.cumsum(own, 0) - 1, p, mask=own != 0)
            first += tl.sum(own, 0)


@triton.jit
def _grouped(
    out_PO, x_XI, weight_EOI, order_P, first_E, count_E,
    I: tl.constexpr, O: tl.constexpr, E: tl.constexpr, UP: tl.constexpr, SHARED: tl.constexpr, ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Rows of one expert; `SHARED` pairs read the same row of x."""
    follow(EARLY)
    whole: tl.constexpr = I % DEPTH == 0
    e = tl.arange(0, UP)
    block = tl.program_id(1)
    blocks_E = tl.cdiv(tl.load(count_E + e, mask=e < E, other=0), ROWS)
    end_E = tl.cumsum(blocks_E, 0)
    expert = tl.sum((end_E <= block).to(tl.int32), 0)
    if expert < E:
        before = block - tl.sum(tl.where(e < expert, blocks_E, 0), 0)
        t = before * ROWS + tl.arange(0, ROWS)
        inside_T = t < tl.load(count_E + expert)
        pair = tl.load(order_P + tl.load(first_E + expert) + t, mask=inside_T, other=0).to(tl.int64)
        o = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
        d = tl.arange(0, DEPTH)
        rows = expert.to(tl.int64) * O + tl.minimum(o, O - 1)
        weight = weight_EOI + rows[:, None] * I + d[None, :]
        x = x_XI + (pair // SHARED)[None, :] * I + d[:, None]
        total = tl.zeros((OUTPUTS, ROWS), tl.float32)
        for i in tl.range(0, I, DEPTH):
            total = round_of(weight + i, x + i, inside_T[None, :], i + d, I, whole, total)
        out = out_PO + pair[None, :] * O + o[:, None]
        tl.store(out, total.to(out_PO.dtype.element_ty), mask=inside_T[None, :] & (o < O)[:, None])


@triton.jit
def _combine(out_TD, answers_PD, weights_P, D: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    follow(EARLY)
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for rank in tl.static_range(K):
        pair = row * K + rank
        answer = tl.load(answers_PD + pair * D + d, mask=d < D, other=0).to(tl.float32)
        total += answer * tl.load(weights_P + pair)
    tl.store(out_TD + row * D + d, total.to(out_TD.dtype.element_ty), mask=d < D)


def route(logits_TE: Tensor, count: int, is_normed: bool) -> Choice:
    """The `count` experts of the largest softmax; `is_normed`: what they count sums to 1. Computed in float32."""
    logits_TE = logits_TE.contiguous()
    rows, width = logits_TE.shape
    choice = Choice(
        logits_TE.new_empty(rows, count, dtype=torch.int32), logits_TE.new_empty(rows, count, dtype=torch.float32)
    )
    up = {"UP": triton.next_power_of_2(width), "KUP": triton.next_power_of_2(count)}
    _route[(rows,)](*choice, logits_TE, E=width, K=count, NORMED=is_normed, num_warps=1, **up, **early(logits_TE))
    return choice


def experts(x_TD: Tensor, gate_up_EJD: Tensor, down_EDI: Tensor, choice: Choice, activation: str) -> Tensor:
    """The weighted sum of what a row's experts answer, added in float32, the best first."""
    (rows, width), (count, each) = x_TD.shape, (len(gate_up_EJD), choice.experts_TK.shape[1])
    pairs = rows * each
    order_P, first_E, count_E = (
        torch.empty(size, dtype=torch.int32, device=x_TD.device) for size in (pairs, count, count)
    )
    _sort[(count,)](order_P, first_E, count_E, choice.experts_TK, pairs, BLOCK=_BLOCK, **early(x_TD))
    sorted_pairs = order_P, first_E, count_E
    hidden_PI = gated(_product(x_TD.contiguous(), gate_up_EJD, sorted_pairs, each), activation)
    answers_PD = _product(hidden_PI, down_EDI, sorted_pairs, 1)
    out_TD = torch.empty_like(x_TD, memory_format=torch.contiguous_format)
    block = min(_BLOCK, triton.next_power_of_2(width))
    grid = (rows, triton.cdiv(width, block))
    _combine[grid](out_TD, answers_PD, choice.weights_TK, D=width, K=each, BLOCK=block, **early(x_TD))
    return out_TD


def _product(x_XI: Tensor, weight_EOI: Tensor, sorted_pairs: tuple[Tensor, Tensor, Tensor], shared: int) -> Tensor:
    """`x @ weight.T` of each pair with its own expert; `shared` pairs read the same row of x."""
    pairs, (count, outputs, inputs) = len(x_XI) * shared, weight_EOI.shape
    shape = next((shape for shape in SHAPES if pairs <= shape.rows * count), SHAPES[-1])
    blocks = pairs // shape.rows + min(pairs, count)  # at most: every expert may have one that is not full
    out_PO = x_XI.new_empty(pairs, outputs)
    _grouped[(triton.cdiv(outputs, shape.outputs), blocks)](
        out_PO, x_XI, weight_EOI, *sorted_pairs,
        I=inputs, O=outputs, E=count, UP=triton.next_power_of_2(count), SHARED=shared,
        ROWS=shape.rows, OUTPUTS=shape.outputs, DEPTH=shape.depth,
        num_warps=shape.num_warps, num_stages=stages(shape.num_stages if x_XI.itemsize == 2 else 2), **early(x_XI),
    )  # fmt: skip
    return out_PO
