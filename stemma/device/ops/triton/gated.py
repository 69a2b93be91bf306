"""Gated activations, computed in float32.

Shapes: T rows, I width of the feed-forward layer, J twice that.
"""

import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.triton.launch import early, follow

_BLOCK = 1024


@triton.jit
def acted(gate, ACTIVATION: tl.constexpr):
    """The activation of float32."""
    if ACTIVATION == "silu":
        return gate / (1 + tl.exp(-gate))
    elif ACTIVATION == "gelu":
        return 0.5 * gate * (1 + tl.math.erf(gate * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":
        # 0.5 * (1 + tanh(z)) is the logistic function of 2 z.
        return gate / (1 + tl.exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)))
    else:
        tl.static_assert(ACTIVATION == "relu", "unknown activation")
        return tl.where(gate < 0, 0.0, gate)  # a NaN stays one


@triton.jit
def paired(gate, up, ACTIVATION: tl.constexpr):
    """`activation(gate) * up` in float32 of rounded numbers; what was activated is rounded too, as in the reference."""
    return acted(gate.to(tl.float32), ACTIVATION).to(gate.dtype).to(tl.float32) * up.to(tl.float32)


@triton.jit
def _gated(out_TI, gate_up_TJ, I: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    follow(EARLY)
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate_up = gate_up_TJ + row * 2 * I + i
    gate = tl.load(gate_up, mask=i < I, other=0)
    up = tl.load(gate_up + I, mask=i < I, other=0)
    tl.store(out_TI + row * I + i, paired(gate, up, ACTIVATION).to(gate.dtype), mask=i < I)


def gated(gate_up_TJ: Tensor, activation: str) -> Tensor:
    """`activation(gate) * up`, where each row holds its gate, then its up."""
    gate_up_TJ = gate_up_TJ.contiguous()
    rows, width = gate_up_TJ.shape[0], gate_up_TJ.shape[1] // 2
    out_TI = gate_up_TJ.new_empty(rows, width)
    block = min(_BLOCK, triton.next_power_of_2(width))
    grid = (rows, triton.cdiv(width, block))
    _gated[grid](out_TI, gate_up_TJ, I=width, ACTIVATION=activation, BLOCK=block, **early(gate_up_TJ))
    return out_TI
