"""From projected heads to attention's inputs: norm, rotation, and the cache, in one pass over them.

Shapes: T rows, X heads (N of queries, then K of keys, then perhaps K of values), H width of a head, P positions,
R pairs that are rotated, S slots of the cache.
"""

import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.triton.launch import early, follow

_HEADS = 4  # of a program


@triton.jit
def _turn(x, other, weight, other_weight, cos, sin, h, H: tl.constexpr, R: tl.constexpr, eps, NORM: tl.constexpr):
    """Heads, normed and rotated, in their own type; `other` is the same with each pair swapped."""
    kind = x.dtype
    x = x.to(tl.float32)
    other = other.to(tl.float32)
    if NORM:
        scale = tl.math.div_rn(1.0, tl.math.sqrt_rn(tl.sum(x * x, 1) / H + eps))[:, None]
        x = ((x * scale).to(kind).to(tl.float32) * weight.to(tl.float32)).to(kind).to(tl.float32)
        other = ((other * scale).to(kind).to(tl.float32) * other_weight.to(tl.float32)).to(kind).to(tl.float32)
    signed = tl.where(h < R, -sin, sin)
    turned = other * signed[None, :] + x * cos[None, :]
    return tl.where((h < 2 * R)[None, :], turned, x).to(kind)


@triton.jit(do_not_specialize_on_alignment=["positions_T"])  # where they begin varies with T
def _norm_rotate(
    out_TNH, x_TXH, weight_2H, cos_PR, sin_PR, positions_T, keys_SKH, values_SKH, slots_T, stride, eps,
    X: tl.constexpr, QUERIES: tl.constexpr, TURNED: tl.constexpr, H: tl.constexpr, R: tl.constexpr,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    h = tl.arange(0, WIDTH)
    swapped = tl.where(h < R, h + R, tl.where(h < 2 * R, h - R, h))
    inside = (x < X)[:, None] & (h < H)[None, :]
    weight = 0.0
    other_weight = 0.0
    if weight_2H is not None:
        first = (x >= QUERIES).to(tl.int32) * H
        weight = tl.load(weight_2H + first[:, None] + h[None, :], mask=inside, other=0)
        other_weight = tl.load(weight_2H + first[:, None] + swapped[None, :], mask=inside, other=0)
    follow(EARLY)
    pair = tl.load(positions_T + row) * R + h % R
    cos = tl.load(cos_PR + pair, mask=h < 2 * R, other=0)
    sin = tl.load(sin_PR + pair, mask=h < 2 * R, other=0)
    heads = x_TXH + row * stride + x[:, None] * H
    own = tl.load(heads + h[None, :], mask=inside, other=0)
    other = tl.load(heads + swapped[None, :], mask=inside, other=0)
    turned = _turn(own, other, weight, other_weight, cos, sin, h, H, R, eps, weight_2H is not None)
    if slots_T is None:
        tl.store(out_TNH + (row * X + x)[:, None] * H + h[None, :], turned, mask=inside)
    else:
        is_query = inside & (x < QUERIES)[:, None]
        tl.store(out_TNH + (row * QUERIES + x)[:, None] * H + h[None, :], turned, mask=is_query)
        slot = tl.load(slots_T + row)
        kept = slot.to(tl.int64) * (TURNED - QUERIES) + x
        is_key = inside & ((x >= QUERIES) & (x < TURNED) & (slot >= 0))[:, None]
        key = keys_SKH + (kept - QUERIES)[:, None] * H + h[None, :]
        tl.store(key, turned.to(keys_SKH.dtype.element_ty), mask=is_key)
        is_value = inside & ((x >= TURNED) & (slot >= 0))[:, None]
        value = values_SKH + (kept - TURNED)[:, None] * H + h[None, :]
        tl.store(value, own.to(values_SKH.dtype.element_ty), mask=is_value)


def norm_rotate(
    x_TXH: Tensor,
    weight_2H: Tensor | None,
    queries: int,
    eps: float,
    cos_PR: Tensor,
    sin_PR: Tensor,
    positions_T: Tensor,
) -> Tensor:
    """Norm each head, if there are weights: the first for `queries` heads, the second for the keys behind; rotate."""
    out_TXH = x_TXH.new_empty(x_TXH.shape)
    angles = cos_PR, sin_PR, positions_T
    _launch(out_TXH, x_TXH, weight_2H, queries, x_TXH.shape[1], eps, angles, (None, None, None))
    return out_TXH


def norm_rotate_write(
    x_TXH: Tensor,
    weight_2H: Tensor | None,
    queries: int,
    eps: float,
    cos_PR: Tensor,
    sin_PR: Tensor,
    positions_T: Tensor,
    keys_SKH: Tensor,
    values_SKH: Tensor,
    slots_T: Tensor,
) -> Tensor:
    """The same; keys, and the values that stand behind them, go into the cache, queries come back.

    A row whose slot is negative is not written: it fills up a step of fixed size.
    """
    out_TNH = x_TXH.new_empty(len(x_TXH), queries, x_TXH.shape[2])
    turned = queries + keys_SKH.shape[1]
    cache = keys_SKH, values_SKH, slots_T
    _launch(out_TNH, x_TXH, weight_2H, queries, turned, eps, (cos_PR, sin_PR, positions_T), cache)
    return out_TNH


def _launch(
    out: Tensor,
    x_TXH: Tensor,
    weight_2H: Tensor | None,
    queries: int,
    turned: int,
    eps: float,
    angles: tuple[Tensor, Tensor, Tensor],
    cache: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> None:
    rows, heads, width = x_TXH.shape
    if x_TXH.stride()[1:] != (width, 1):
        x_TXH = x_TXH.contiguous()
    block = triton.next_power_of_2(width)
    _norm_rotate[(rows, triton.cdiv(heads, _HEADS))](
        out, x_TXH, weight_2H, *angles, *cache, x_TXH.stride(0), eps,
        X=heads, QUERIES=queries, TURNED=turned, H=width, R=angles[0].shape[1], HEADS=_HEADS, WIDTH=block,
        num_warps=max(1, min(4, _HEADS * block // 256)), **early(x_TXH),
    )  # fmt: skip
