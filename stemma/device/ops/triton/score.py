"""Log-probabilities of single tokens and of the best ones; no softmax is ever written.

Each part of a row tells its largest logit, the sum of its weights, and its best tokens as keys; a program per row puts
them together. What rows want are records of ops/cpu/sampling.py, with addresses of the device.

Shapes: W rows wanted, S rows of logits, V vocabulary, P parts of it, K best tokens, C chosen tokens, B bytes of a
record.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.cpu.sampling import WANT, Scores
from stemma.device.ops.triton.launch import early, follow
from stemma.device.ops.triton.noise import minus_log, weight

_PART = 2048
_BYTES = tl.constexpr(WANT.itemsize)
_CHOSEN, _ROW = tl.constexpr(0), tl.constexpr(1)  # of 8 bytes
_NUM_CHOSEN, _TOP = tl.constexpr(4), tl.constexpr(5)  # of 4


@triton.jit
def _wanted(wants, place, field: tl.constexpr, kind: tl.constexpr):
    return tl.load((wants + place * _BYTES).to(tl.pointer_type(kind)) + field)


@triton.jit
def _key(x, v):
    """Orders tokens: the larger logit, among equals the lower id."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)  # no negative zero
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (rising.to(tl.int64) << 32) | (0x7FFFFFFF - v).to(tl.int64)


@triton.jit(do_not_specialize=["K"])
def _score_parts(
    logits_SV, wants_WB, largest_WP, mass_WP, keys_WPK, K,
    V: tl.constexpr, P: tl.constexpr, PART: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    part = tl.program_id(0)
    place = tl.program_id(1).to(tl.int64)
    v = part * PART + tl.arange(0, PART)
    x = tl.load(logits_SV + _wanted(wants_WB, place, _ROW, tl.int64) * V + v, mask=v < V, other=-float("inf"))
    largest = tl.max(x, 0)
    gap = tl.where(largest > -float("inf"), x - largest, -float("inf"))  # where all are banned, none has a weight
    tl.store(largest_WP + place * P + part, largest)
    tl.store(mass_WP + place * P + part, tl.sum(weight(gap).to(tl.float64), 0))
    keys = tl.where(v < V, _key(x, v), -0x7FFFFFFFFFFFFFFF)
    for k in range(_wanted(wants_WB, place, _TOP, tl.int32)):
        best = tl.max(keys, 0)
        tl.store(keys_WPK + (place * P + part) * K + k, best)
        keys = tl.where(keys == best, -0x7FFFFFFFFFFFFFFF, keys)


@triton.jit(do_not_specialize=["K", "C"])
def _score_rows(
    logprob_W, top_ids_WK, top_WK, chosen_WC, logits_SV, tokens_S, wants_WB, largest_WP, mass_WP, keys_WPK, K, C,
    V: tl.constexpr, P: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    place = tl.program_id(0).to(tl.int64)
    p = tl.arange(0, PARTS)
    row = _wanted(wants_WB, place, _ROW, tl.int64)
    own = logits_SV + row * V
    largest_P = tl.load(largest_WP + place * P + p, mask=p < P, other=-float("inf"))
    largest = tl.max(largest_P, 0)
    mass = tl.sum(tl.load(mass_WP + place * P + p, mask=p < P, other=0.0) * weight(largest_P - largest), 0)
    log_mass = -minus_log(mass).to(tl.float32)
    tl.store(logprob_W + place, tl.load(own + tl.load(tokens_S + row)) - largest - log_mass)
    # The best of each part are in order: the best of all is the first of one of them.
    used = tl.zeros((PARTS,), tl.int32)
    for k in range(_wanted(wants_WB, place, _TOP, tl.int32)):
        first = tl.load(keys_WPK + (place * P + p) * K + used, mask=(p < P) & (used < K), other=-0x7FFFFFFFFFFFFFFF)
        best, part = tl.max(first, 0, return_indices=True)
        used += (p == part).to(tl.int32)
        id = 0x7FFFFFFF - (best & 0x7FFFFFFF).to(tl.int32)
        tl.store(top_ids_WK + place * K + k, id)
        tl.store(top_WK + place * K + k, tl.load(own + id) - largest - log_mass)
    ids = _wanted(wants_WB, place, _CHOSEN, tl.int64).to(tl.pointer_type(tl.int32))
    count = _wanted(wants_WB, place, _NUM_CHOSEN, tl.int32)
    for begin in range(0, count, BLOCK):
        c = begin + tl.arange(0, BLOCK)
        x = tl.load(own + tl.load(ids + c, mask=c < count, other=0), mask=c < count, other=0)
        tl.store(chosen_WC + place * C + c, x - largest - log_mass, mask=c < count)


def score(logits_SV: Tensor, tokens_S: Tensor, wants_WB: Tensor, best: int, chosen: int) -> Scores:
    """The log-softmax of the wanted rows at their tokens, at their best ones and at those that they chose.

    `best` and `chosen` are the most that any of them wants.
    """
    wanted, vocab = len(wants_WB), logits_SV.shape[1]
    parts = triton.cdiv(vocab, _PART)

    def each(*more: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(wanted, *more, dtype=dtype, device=logits_SV.device)

    scores = Scores(each(), each(best, dtype=torch.int32), each(best), each(chosen))
    largest_WP, mass_WP = each(parts), each(parts, dtype=torch.float64)
    keys_WPK = each(parts, best, dtype=torch.int64)
    exact = {"enable_fp_fusion": False, **early(logits_SV)}
    _score_parts[(parts, wanted)](
        logits_SV, wants_WB, largest_WP, mass_WP, keys_WPK, best, V=vocab, P=parts, PART=_PART, **exact
    )
    _score_rows[(wanted,)](
        *scores, logits_SV, tokens_S, wants_WB, largest_WP, mass_WP, keys_WPK, best, chosen,
        V=vocab, P=parts, PARTS=triton.next_power_of_2(parts), BLOCK=128, **exact,
    )  # fmt: skip
    return scores
