"""What a draw is made of, in the bits of the other bodies: noise from counters, and weights of logits.

The functions are those of ops/reference/sample.py and ops/cpu/softmax.h, step by step; launch what calls them with
`enable_fp_fusion=False`, since a product and a sum that become one instruction round once, not twice.
"""

import triton
import triton.language as tl

GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
MIX_2 = tl.constexpr(0x94D049BB133111EB)
SQRT_HALF = tl.constexpr(0.5**0.5)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def words(start, number):
    """Outputs of SplitMix64, by number, of the stream that starts at `start`; all are uint64."""
    z = start + (number + 1) * GOLDEN
    z = (z ^ (z >> 30)) * MIX_1
    z = (z ^ (z >> 27)) * MIX_2
    return z ^ (z >> 31)


@triton.jit
def exponentials(stream, id):
    """Exponentially distributed noise, in float64, for each token of the stream of a position."""
    cells = words(stream, id.to(tl.uint64)) >> 12
    return minus_log((cells.to(tl.int64).to(tl.float64) + 0.5) * 2.220446049250313e-16)


@triton.jit
def minus_log(u):
    """-ln u of normal float64, within 1e-9, of operations that have one right rounding."""
    bits = u.to(tl.int64, bitcast=True)
    exponent = ((bits >> 52) - 1022).to(tl.int32)
    mantissa = ((bits & 0xFFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)
    low = mantissa < SQRT_HALF
    mantissa = tl.where(low, mantissa * 2, mantissa)
    exponent = tl.where(low, exponent - 1, exponent)
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = square * (1 / 11) + 1 / 9
    series = series * square + 1 / 7
    series = series * square + 1 / 5
    series = series * square + 1 / 3
    series = series * square + 1.0
    return exponent.to(tl.float64) * -LN_2 - 2 * s * series


@triton.jit
def weight(y):
    """e^y of y <= 0 within 2 ulp, exactly 1 at 0, and 0 where it would be below 1.7e-38."""
    shifted = tl.math.fma(y, 1.44269504, 12582912.0)  # 1.5 * 2^23: rounds to an integer, its lowest bits
    n = shifted - 12582912.0
    r = tl.math.fma(n, -0.693145752, y)
    r = tl.math.fma(n, -1.42860677e-6, r)
    p = tl.math.fma(r, 1.9875691e-4, 1.3981999e-3)
    p = tl.math.fma(p, r, 8.3334519e-3)
    p = tl.math.fma(p, r, 4.1665796e-2)
    p = tl.math.fma(p, r, 1.6666665e-1)
    p = tl.math.fma(p, r, 5.0000001e-1)
    p = tl.math.fma(p, r * r, r + 1.0)
    scaled = p.to(tl.int32, bitcast=True) + (shifted.to(tl.int32, bitcast=True) << 23)
    return tl.where(y < -87.0, 0.0, scaled.to(tl.float32, bitcast=True))
