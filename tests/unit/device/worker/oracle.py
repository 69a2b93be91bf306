"""Sampling by brute force, in Python's own numbers: slow, plain, and written apart from what it judges."""

import math
from collections.abc import Sequence

from stemma.core.types.sampling import SamplingParams

MASK = 2**64 - 1


def brute_word(start: int, number: int) -> int:
    """The published loop of SplitMix64, entered at its `number`-th turn."""
    state = (start + (number + 1) * 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def brute_noise(seed: int, position: int, id: int) -> float:
    cell = brute_word(brute_word(seed & MASK, position), id) >> 12
    return -math.log((cell + 0.5) / 2**52)


def brute_processed(
    logits: Sequence[float], asked: SamplingParams, output: Sequence[int], stop_ids: Sequence[int] = ()
) -> list[float]:
    changed = list(logits)
    for id in range(len(changed)):
        times = list(output).count(id)
        changed[id] -= times * asked.frequency_penalty
        if times:
            changed[id] -= asked.presence_penalty
        if id in stop_ids and len(output) < asked.min_new_tokens:
            changed[id] = -math.inf
        if times and changed[id] > 0:
            changed[id] /= asked.repetition_penalty
        elif times:
            changed[id] *= asked.repetition_penalty
        changed[id] += asked.logit_bias.get(id, 0.0)
    return changed


def brute_logprobs(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    tempered = [logit / temperature for logit in logits]
    best = max(tempered)
    total = best + math.log(math.fsum(math.exp(x - best) for x in tempered))
    return [x - total for x in tempered]


def brute_support(p: Sequence[float], top_k: int, top_p: float, min_p: float) -> list[int]:
    """Ids that may be drawn, in ascending order."""
    ranking = sorted(range(len(p)), key=lambda id: (-p[id], id))
    kept, before = [], 0.0
    for rank, id in enumerate(ranking):
        in_k = top_k == -1 or rank < top_k
        in_p = top_p == 1.0 or before <= top_p
        if in_k and in_p and p[id] >= min_p * max(p):
            kept.append(id)
        before += p[id]
    return sorted(kept)


def brute_token(logits: Sequence[float], asked: SamplingParams, seed: int, position: int) -> int:
    """The token that these (processed) logits, parameters, seed and position mean."""
    if asked.is_greedy:
        return max(range(len(logits)), key=lambda id: (logits[id], -id))
    p = [math.exp(x) for x in brute_logprobs(logits, asked.temperature)]
    ids = brute_support(p, asked.top_k, asked.top_p, asked.min_p)
    return max(ids, key=lambda id: (p[id] / brute_noise(seed, position, id), -id))
