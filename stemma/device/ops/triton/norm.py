"""Root-mean-square norms: one row is one program, read and written once.

Shapes: T rows, D the width that is normalised.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.triton.launch import early, follow
from stemma.device.ops.triton.quantised import empty_rows, put_row, row_layout


@triton.jit
def _add_rms_norm(
    out_TD, sum_TD, x_TD, skip_TD, weight_D, eps, D: tl.constexpr, PADDED: tl.constexpr, GAP: tl.constexpr,
    BLOCK: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * D
    d = tl.arange(0, BLOCK)
    inside = d < D
    weight = tl.load(weight_D + d, mask=inside, other=0)
    follow(EARLY)
    x = tl.load(x_TD + row + d, mask=inside, other=0)
    if skip_TD is not None:
        skip = tl.load(skip_TD + row + d, mask=inside, other=0)
        x = (x.to(tl.float32) + skip.to(tl.float32)).to(x.dtype)
        tl.store(sum_TD + row + d, x, mask=inside)
    wide = x.to(tl.float32)
    # One rounding each, as in the reference: an approximate square root would show in the last bit.
    scale = tl.math.div_rn(1.0, tl.math.sqrt_rn(tl.sum(wide * wide, 0) / D + eps))
    normed = (wide * scale).to(x.dtype).to(tl.float32) * weight.to(tl.float32)
    if GAP:
        put_row(out_TD, tl.program_id(0).to(tl.int64), normed.to(x.dtype).to(tl.float32), d, PADDED, GAP)
    else:
        tl.store(out_TD + row + d, normed.to(x.dtype), mask=inside)


def add_rms_norm(x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm of `x + skip`, and that sum itself for the next skip. Nothing was skipped at first."""
    x_TD = x_TD.contiguous()
    layout = {"PADDED": 0, "GAP": 0, "BLOCK": triton.next_power_of_2(x_TD.shape[1])}
    return _launch(torch.empty_like(x_TD), x_TD, skip_TD, weight_D, eps, layout)


def add_rms_norm_quantise(x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The same, its norm as rows of 8 bits (quantised.py): what a quantised matrix makes of it anyway."""
    x_TD = x_TD.contiguous()
    rows, width = x_TD.shape
    return _launch(empty_rows(rows, width, x_TD.device), x_TD, skip_TD, weight_D, eps, row_layout(width))


def _launch(
    out_TD: Tensor, x_TD: Tensor, skip_TD: Tensor | None, weight_D: Tensor, eps: float, layout: dict[str, int]
) -> tuple[Tensor, Tensor]:
    sum_TD = x_TD
    if skip_TD is not None:
        skip_TD, sum_TD = skip_TD.contiguous(), torch.empty_like(x_TD)
    rows, width = x_TD.shape
    _add_rms_norm[(rows,)](
        out_TD, sum_TD, x_TD, skip_TD, weight_D, eps,
        D=width,
        num_warps=max(1, min(16, layout["BLOCK"] // 512)),  # 16 elements, two loads of 16 bytes, for each thread
        enable_fp_fusion=False, **layout, **early(x_TD),
    )  # fmt: skip
    return out_TD, sum_TD
