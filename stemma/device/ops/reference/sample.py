"""From logits to a token: who may be drawn, and the draw. Plain torch, one row at a time.

The token is a function of (logits, seed, position) and of nothing else. Whatever torch could round in
another way in another place, in another batch or with other threads is kept out: a softmax sees one whole
row, sums run in one order, and the noise is made of integers and of single IEEE operations.

V vocabulary, N tokens that may be drawn, best first
"""

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, like the two multipliers below
MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
MIX_2 = 0x94D049BB133111EB - 2**64
FIRST_LOOK = 1024  # most nuclei are smaller: a whole vocabulary is sorted only when one is not


def draw(logits_V: Tensor, seed: int, position: int, top_k: int, top_p: float, min_p: float) -> Tensor:
    """The token at `position`: a Gumbel-max draw from the truncated softmax, written as a race.

    argmax(log p + Gumbel) is argmax(p / E) with E exponential, and does without a logarithm of p.
    """
    p_V = logits_V.softmax(-1)
    ids_N = support(p_V, top_k, top_p, min_p)
    return ids_N.take((p_V[ids_N] / exponentials(seed, position, ids_N)).argmax())


def support(p_V: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor:
    """Ids that may be drawn: rank < top_k, the probabilities before them sum to at most top_p, and
    they have at least min_p of the best one's. All three look at the same untruncated softmax, and
    each keeps a beginning of the same order. top_k -1, top_p 1 and min_p 0 are off.
    """
    most = len(p_V) if top_k < 0 else min(top_k, len(p_V))
    if top_p >= 1 and min_p <= 0:
        return torch.arange(most, device=p_V.device) if most == len(p_V) else leaders(p_V, most)
    for size in (min(FIRST_LOOK, most), most):
        ids_N = leaders(p_V, size)
        p_N = p_V[ids_N].double()
        before_N = p_N.cumsum(0).roll(1)
        before_N[0] = 0
        kept = int((((before_N <= top_p) | (top_p >= 1)) & (p_N >= min_p * p_N[0])).sum())
        if kept < size:
            break
    return ids_N[: max(kept, 1)]


def leaders(values_V: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest values, best first; among equals the lowest id first."""
    if count == 0 or count * 4 >= len(values_V):
        return values_V.argsort(descending=True, stable=True)[:count]
    least = values_V.topk(count).values[-1]  # topk orders equals by chance: only its value is used
    ids_N = (values_V >= least).nonzero().squeeze(1)
    return ids_N[values_V[ids_N].argsort(descending=True, stable=True)[:count]]


def exponentials(seed: int, position: int, ids_N: Tensor) -> Tensor:
    """Noise for each token id at a position: float64, exponentially distributed, the same on every device.

    Word number `id` of the SplitMix64 stream that starts at word number `position` of the stream that
    starts at `seed`; its upper 52 bits are the middle of one of 2^52 equal cells of (0, 1).
    """
    stream = words(torch.tensor(seed), torch.tensor(position))
    cells_N = shifted(words(stream, ids_N), 12)
    return minus_log((cells_N.double() + 0.5) * 2.0**-52)


def words(start: Tensor, number: Tensor) -> Tensor:
    """Outputs of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).

    Any output is found without the ones before it. int64 stands for uint64: sums and products wrap.
    """
    z = start + (number + 1) * GOLDEN
    z = (z ^ shifted(z, 30)) * MIX_1
    z = (z ^ shifted(z, 27)) * MIX_2
    return z ^ shifted(z, 31)


def shifted(z: Tensor, bits: int) -> Tensor:
    """z >> bits, as if unsigned."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def minus_log(u: Tensor) -> Tensor:
    """-ln u within 1e-9 of its value, of operations that have one right rounding.

    torch.log may differ in the last bit between machines and between places in a tensor.
    """
    mantissa, exponent = torch.frexp(u)
    low = mantissa < math.sqrt(0.5)
    mantissa = torch.where(low, mantissa * 2, mantissa)  # now around 1, where the series is short
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = torch.full_like(u, 1 / 11)
    for odd in (9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return (exponent - low.int()).double() * -math.log(2) - 2 * s * series
