"""Keys and values into the cache, where no other kernel has written them.

Shapes: T tokens of the step, K key heads, H width of a head, P slots.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _put(
    pool_PKH, x_TKH, slots_T, stride, K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr,
    IS_INT8: tl.constexpr,
):  # fmt: skip
    """One token's heads."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots_T + token)
    head_K, column_H = tl.arange(0, KP), tl.arange(0, HP)
    is_head_K = (head_K < K) & (slot >= 0)
    is_there_KH = is_head_K[:, None] & (column_H < H)[None, :]
    x_KH = tl.load(x_TKH + token * stride + head_K[:, None] * H + column_H[None, :], mask=is_there_KH, other=0)
    WIDTH: tl.constexpr = H + 4 if IS_INT8 else H
    at_K = pool_PKH + (slot.to(tl.int64) * K + head_K) * WIDTH
    if IS_INT8:
        x_KH = x_KH.to(tl.float32)
        most_K = tl.max(tl.abs(x_KH), 1)
        most_K = tl.where(tl.max((x_KH != x_KH).to(tl.int32), 1) > 0, float("nan"), most_K)
        inverse_K = tl.where(most_K > 1e-30, tl.math.div_rn(127.0, tl.maximum(most_K, 1e-30)), 0.0)
        # Adding and taking away what leaves no room for a fraction rounds, ties to even. What is no number becomes 0.
        whole_KH = x_KH * inverse_K[:, None] + 12582912.0 - 12582912.0
        x_KH = tl.where(whole_KH == whole_KH, whole_KH, 0.0)
        scale_K = (at_K + H).to(tl.pointer_type(tl.float32))
        tl.store(scale_K, tl.math.div_rn(most_K, 127.0), mask=is_head_K)
    tl.store(at_K[:, None] + column_H[None, :], x_KH.to(pool_PKH.dtype.element_ty), mask=is_there_KH)


def write(keys_PKH: Tensor, values_PKH: Tensor, slots_T: Tensor, k_TKH: Tensor, v_TKH: Tensor) -> None:
    """Put each token's keys and values where they belong, rounded to the pool's type; those with a slot < 0 nowhere."""
    for pool_PKH, x_TKH in ((keys_PKH, k_TKH), (values_PKH, v_TKH)):
        tokens, heads, width = x_TKH.shape
        if x_TKH.stride()[1:] != (width, 1):
            x_TKH = x_TKH.contiguous()
        _put[(tokens,)](
            pool_PKH,
            x_TKH,
            slots_T,
            x_TKH.stride(0),
            K=heads,
            H=width,
            KP=triton.next_power_of_2(heads),
            HP=triton.next_power_of_2(width),
            IS_INT8=pool_PKH.dtype == torch.int8,
        )
