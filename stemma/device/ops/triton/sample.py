"""From logits to tokens without waiting for anything: three launches, whatever the rows ask for.

`_process` does to logits what a row asks for and finds the largest; `_weigh` makes weights of them, and all race;
`_settle` looks whether the winner may win: the three truncations keep a beginning of one order (heavier first, among
equals the lower id first), and if the winner does not belong to it, it and all behind it are out and the others race
again (docs/decisions/0024-a-draw-without-a-sort.md). What rows ask for are records of ops/cpu/sampling.py, with
addresses of the device.

Shapes: S places, V vocabulary, P parts of it, G groups of a part, B bytes of a record.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stemma.device.ops.cpu.sampling import ASK, Drawn
from stemma.device.ops.triton.launch import early, follow
from stemma.device.ops.triton.noise import exponentials, weight, words

_PART = 2048
_GROUP = 64  # tokens whose heaviest shows what weight suffices
_OUTPUT = 1024  # tokens of an answer that are counted at a time
_BLOCK = 4096  # tokens that a row looks at again at a time
_NUCLEUS = 256  # most nuclei are smaller
_MOST = tl.constexpr(3.4028234663852886e38)
_LEAST = tl.constexpr(1.1754943508222875e-38)


def _at(name: str) -> tl.constexpr:
    """Where a field stands, in units of its own size."""
    kind, offset = dict(ASK.fields or {})[name][:2]
    return tl.constexpr(offset // kind.itemsize)


_TOKENS, _STOP_IDS, _BIAS_IDS, _BIAS_VALUES = _at("tokens"), _at("stop_ids"), _at("bias_ids"), _at("bias_values")
_MASK, _SEED, _TOP_P, _MIN_P = _at("mask"), _at("seed"), _at("top_p"), _at("min_p")
_DIVISOR, _FREQUENCY, _PRESENCE, _REPETITION = _at("divisor"), _at("frequency"), _at("presence"), _at("repetition")
_PROMPT_LEN, _POSITION, _TOP_K, _MIN_NEW = _at("prompt_len"), _at("position"), _at("top_k"), _at("min_new_tokens")
_NUM_STOPS, _NUM_BIASES, _NUM_WORDS = _at("num_stops"), _at("num_biases"), _at("num_words")
_GREEDY, _SCORED = _at("greedy"), _at("scored")
_BYTES = tl.constexpr(ASK.itemsize)


@triton.jit
def _asked(asks, row, field: tl.constexpr, kind: tl.constexpr):
    """A field of a row's record."""
    record = (asks + row * _BYTES).to(tl.pointer_type(kind))
    return tl.load(record + field)


@triton.jit
def _list(asks, row, field: tl.constexpr, kind: tl.constexpr):
    """The address that a field holds."""
    return _asked(asks, row, field, tl.int64).to(tl.pointer_type(kind))


@triton.jit
def _processed(x, v, asks, row, begin, PART: tl.constexpr, OUTPUT: tl.constexpr):
    """Logits of a part after grammar, penalties, ban and biases, in the order of the reference."""
    mask = _asked(asks, row, _MASK, tl.int64)
    if mask != 0:
        is_told = v // 32 < _asked(asks, row, _NUM_WORDS, tl.int32)
        word = tl.load(mask.to(tl.pointer_type(tl.int32)) + v // 32, mask=is_told, other=0)
        x = tl.where((word >> (v % 32)) & 1 != 0, x, -float("inf"))
    prompt_len = _asked(asks, row, _PROMPT_LEN, tl.int32)
    position = _asked(asks, row, _POSITION, tl.int32)
    frequency = _asked(asks, row, _FREQUENCY, tl.float32)
    presence = _asked(asks, row, _PRESENCE, tl.float32)
    repetition = _asked(asks, row, _REPETITION, tl.float32)
    if position - prompt_len < _asked(asks, row, _MIN_NEW, tl.int32):
        ids = _list(asks, row, _STOP_IDS, tl.int32)
        for at in range(_asked(asks, row, _NUM_STOPS, tl.int32)):
            x = tl.where(v == tl.load(ids + at), -float("inf"), x)
    if (frequency != 0) | (presence != 0) | (repetition != 1):
        tokens = _list(asks, row, _TOKENS, tl.int32)
        counts = tl.zeros((PART,), tl.int32)
        for at in range(prompt_len, position, OUTPUT):
            place = at + tl.arange(0, OUTPUT)
            token = tl.load(tokens + place, mask=place < position, other=-1) - begin
            counts += tl.histogram(token, PART, mask=(token >= 0) & (token < PART))
        lessened = x - counts.to(tl.float32) * frequency - presence
        divided = tl.where(lessened > 0, tl.math.div_rn(lessened, repetition), lessened * repetition)
        x = tl.where(counts > 0, tl.minimum(divided, _MOST), x)
    ids = _list(asks, row, _BIAS_IDS, tl.int32)
    values = _list(asks, row, _BIAS_VALUES, tl.float32)
    for at in range(_asked(asks, row, _NUM_BIASES, tl.int32)):
        x = tl.where(v == tl.load(ids + at), tl.minimum(x + tl.load(values + at), _MOST), x)
    return x


@triton.jit
def _process(
    logits_SV, asks_SB, largest_SP, best_SP, finite_SP,
    V: tl.constexpr, P: tl.constexpr, PART: tl.constexpr, OUTPUT: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    part = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    v = part * PART + tl.arange(0, PART)
    own = logits_SV + row * V + v
    x = tl.load(own, mask=v < V, other=0)
    finite = tl.min((tl.abs(x) <= _MOST).to(tl.int32), 0)  # no NaN is at most anything
    x = _processed(x, v, asks_SB, row, part * PART, PART, OUTPUT)
    tl.store(own, x, mask=v < V)
    x = tl.where(v < V, x, -float("inf"))
    largest, best = tl.max(x, 0, return_indices=True)
    tl.store(largest_SP + row * P + part, largest)
    tl.store(best_SP + row * P + part, part * PART + best)
    tl.store(finite_SP + row * P + part, finite)


@triton.jit
def _largest(largest_SP, finite_SP, row, p, P: tl.constexpr):
    """The largest logit of a row, the part that it is in, and whether there is one at all."""
    inside = p < P
    largest, part = tl.max(tl.load(largest_SP + row * P + p, mask=inside, other=-float("inf")), 0, return_indices=True)
    finite = tl.min(tl.load(finite_SP + row * P + p, mask=inside, other=1), 0)
    return largest, part, (finite != 0) & (largest > -float("inf"))


@triton.jit
def _stream(asks, row):
    """Where the noise of a row's position begins."""
    seed = _asked(asks, row, _SEED, tl.int64).to(tl.uint64)
    return words(seed, _asked(asks, row, _POSITION, tl.int32).to(tl.uint64))


@triton.jit
def _weigh(
    logits_SV, asks_SB, largest_SP, finite_SP, mass_SP, score_SP, winner_SP, tops_SPG,
    V: tl.constexpr, P: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr, GROUP: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    part = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    largest, _, is_fine = _largest(largest_SP, finite_SP, row, tl.arange(0, PARTS), P)
    greedy = _asked(asks_SB, row, _GREEDY, tl.int8) != 0
    scored = _asked(asks_SB, row, _SCORED, tl.int8) != 0
    if is_fine & (scored | (not greedy)):
        v = part * PART + tl.arange(0, PART)
        own = logits_SV + row * V + v
        x = tl.load(own, mask=v < V, other=-float("inf"))
        tempered = tl.math.div_rn(x - largest, _asked(asks_SB, row, _DIVISOR, tl.float32))
        weights = weight(tempered)
        tl.store(own, tl.where(scored, tempered, weights), mask=v < V)
        if not greedy:
            groups: tl.constexpr = PART // GROUP
            tops = tl.max(tl.reshape(weights, (groups, GROUP)), 1)
            tl.store(tops_SPG + (row * P + part) * groups + tl.arange(0, groups), tops)
            tl.store(mass_SP + row * P + part, tl.sum(weights.to(tl.float64), 0))
            score, winner = tl.max(
                weights.to(tl.float64) / exponentials(_stream(asks_SB, row), v), 0, return_indices=True
            )
            tl.store(score_SP + row * P + part, score)
            tl.store(winner_SP + row * P + part, part * PART + winner)


@triton.jit
def _again(own, v, scored, V: tl.constexpr):
    """Weights of tokens, from what `_weigh` left of them."""
    x = tl.load(own + v, mask=v < V, other=-float("inf"))
    if scored:
        x = weight(x)
    return tl.where(v < V, x, -1.0)


@triton.jit
def _sufficient(tops, count, top_p, mass, by_count):
    """A weight that everybody who may be drawn has, or 0; tops below 0 are nobody's."""
    bits = tops.to(tl.int32, bitcast=True)
    found = 0
    for bit in tl.static_range(30):  # the bits of 1.0, the largest, are below 2^30
        higher = found | (1 << (29 - bit))
        found = tl.where(tl.sum((bits >= higher).to(tl.int32), 0) >= count, higher, found)
    heavy = tl.sum(tl.where(bits >= found, tops, 0.0).to(tl.float64), 0)
    enough = by_count | (heavy > top_p * mass)
    return tl.where(enough, found, 0).to(tl.float32, bitcast=True)


@triton.jit
def _least(asks, row, tops_SPG, mass, top_p, top_k, V, COUNT: tl.constexpr, TOPS: tl.constexpr, NUCLEUS: tl.constexpr):
    """A weight that everybody who may be drawn has: the lower it is, the more tokens race in vain."""
    min_p = _asked(asks, row, _MIN_P, tl.float64)
    share = min_p.to(tl.float32)
    share = tl.where(
        share.to(tl.float64) < min_p, (share.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True), share
    )
    least = tl.where(min_p > 0, tl.maximum(share, _LEAST), _LEAST)
    cuts_count = (top_k > 0) & (top_k < V)
    count = tl.where(cuts_count, top_k, tl.minimum(NUCLEUS, COUNT // 4))
    if (cuts_count | (top_p < 1)) & (count > 0) & (count <= COUNT):
        g = tl.arange(0, TOPS)
        tops = tl.load(tops_SPG + row * COUNT + g, mask=g < COUNT, other=-1.0)
        least = tl.maximum(least, _sufficient(tops, count, top_p, mass, cuts_count))
    return least


@triton.jit
def _settle(
    tokens_S, finite_S, banned_S, logits_SV, asks_SB,
    largest_SP, best_SP, finite_SP, mass_SP, score_SP, winner_SP, tops_SPG,
    V: tl.constexpr, P: tl.constexpr, PARTS: tl.constexpr, COUNT: tl.constexpr, TOPS: tl.constexpr,
    NUCLEUS: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    follow(EARLY)
    row = tl.program_id(0).to(tl.int64)
    p = tl.arange(0, PARTS)
    _largest_logit, part, is_fine = _largest(largest_SP, finite_SP, row, p, P)
    token = tl.where(is_fine, tl.load(best_SP + row * P + part), 0)
    if is_fine & (_asked(asks_SB, row, _GREEDY, tl.int8) == 0):
        own = logits_SV + row * V
        scored = _asked(asks_SB, row, _SCORED, tl.int8) != 0
        top_p = _asked(asks_SB, row, _TOP_P, tl.float64)
        top_k = _asked(asks_SB, row, _TOP_K, tl.int32)
        min_p = _asked(asks_SB, row, _MIN_P, tl.float64)
        best, part = tl.max(tl.load(score_SP + row * P + p, mask=p < P, other=-1.0), 0, return_indices=True)
        token = tl.load(winner_SP + row * P + part)
        if (top_p < 1) | ((top_k > 0) & (top_k < V)) | (min_p > 0):
            mass = tl.sum(tl.load(mass_SP + row * P + p, mask=p < P, other=0.0), 0)
            least = _least(asks_SB, row, tops_SPG, mass, top_p, top_k, V, COUNT, TOPS, NUCLEUS)
            stream = _stream(asks_SB, row)
            may_win = False
            while not may_win:
                won = tl.load(own + token)
                if scored:
                    won = weight(won)
                before_mass = tl.zeros((), tl.float64)
                before = 0
                if won >= least:
                    for begin in range(0, V, BLOCK):
                        v = begin + tl.arange(0, BLOCK)
                        weights = _again(own, v, scored, V)
                        is_before = (weights > won) | ((weights == won) & (v < token))
                        before_mass += tl.sum(tl.where(is_before, weights, 0.0).to(tl.float64), 0)
                        before += tl.sum(is_before.to(tl.int32), 0)
                may_win = (won >= least) & ((top_p >= 1) | (before_mass <= top_p * mass))
                may_win = may_win & ((top_k <= 0) | (before < top_k))
                if not may_win:
                    best = tl.full((), -1.0, tl.float64)
                    bound = token
                    for begin in range(0, V, BLOCK):
                        v = begin + tl.arange(0, BLOCK)
                        weights = _again(own, v, scored, V)
                        races = (weights >= least) & ((weights > won) | ((weights == won) & (v < bound)))
                        if tl.max(races.to(tl.int32), 0) > 0:
                            scores = weights.to(tl.float64) / exponentials(stream, v)
                            score, at = tl.max(tl.where(races, scores, -1.0), 0, return_indices=True)
                            token = tl.where(score > best, begin + at, token)
                            best = tl.maximum(score, best)
    tl.store(tokens_S + row, token.to(tl.int64))
    tl.store(finite_S + row, is_fine)
    was_finite = tl.min(tl.load(finite_SP + row * P + p, mask=p < P, other=1), 0) != 0
    tl.store(banned_S + row, was_finite & (not is_fine))


def sample(logits_SV: Tensor, asks_SB: Tensor) -> Drawn:
    """Draw. The logits, contiguous in float32, are working memory: what they become is told only if `scored`."""
    places, vocab = logits_SV.shape
    parts = triton.cdiv(vocab, _PART)
    groups, parts_up = _PART // _GROUP, triton.next_power_of_2(parts)

    def each(dtype: torch.dtype, *more: int) -> Tensor:
        return torch.empty(places, parts, *more, dtype=dtype, device=logits_SV.device)

    largest_SP, best_SP, finite_SP = each(torch.float32), each(torch.int32), each(torch.int32)
    mass_SP, score_SP, winner_SP = each(torch.float64), each(torch.float64), each(torch.int32)
    tops_SPG = each(torch.float32, groups)
    tokens_S = logits_SV.new_empty(places, dtype=torch.int64)
    finite_S, banned_S = (logits_SV.new_empty(places, dtype=torch.bool) for _ in range(2))
    exact = {"enable_fp_fusion": False, **early(logits_SV)}
    _process[(parts, places)](
        logits_SV, asks_SB, largest_SP, best_SP, finite_SP,
        V=vocab, P=parts, PART=_PART, OUTPUT=_OUTPUT, num_warps=8, **exact,
    )  # fmt: skip
    _weigh[(parts, places)](
        logits_SV, asks_SB, largest_SP, finite_SP, mass_SP, score_SP, winner_SP, tops_SPG,
        V=vocab, P=parts, PARTS=parts_up, PART=_PART, GROUP=_GROUP, num_warps=8, **exact,
    )  # fmt: skip
    _settle[(places,)](
        tokens_S, finite_S, banned_S, logits_SV, asks_SB,
        largest_SP, best_SP, finite_SP, mass_SP, score_SP, winner_SP, tops_SPG,
        V=vocab, P=parts, PARTS=parts_up, COUNT=parts * groups, TOPS=parts_up * groups,
        NUCLEUS=_NUCLEUS, BLOCK=_BLOCK, num_warps=8, **exact,
    )  # fmt: skip
    return Drawn(tokens_S, finite_S, banned_S)
