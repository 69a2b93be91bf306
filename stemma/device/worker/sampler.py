"""Logits to tokens and their log-probabilities.

Greedy rows without wishes are one argmax over all of them; every other row is worked on alone, so that its
token and its bits are a function of (its logits, its seed, the position) whatever stands beside it.

S places of one slice, V vocabulary
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec
from stemma.device.ops.reference.sample import draw
from stemma.device.worker.inputs import Place
from stemma.device.worker.logprobs import Score, score
from stemma.device.worker.processors import changes_logits, processed
from stemma.device.worker.rows import Row


@dataclass(slots=True, frozen=True)
class Verdict:
    """What the logits of some places said. The token of a place is drawn or, in a prompt, given."""

    places: Sequence[Place]
    tokens_S: Tensor
    finite_S: Tensor  # False: the logits were not, and the token means nothing
    scores: Sequence[Score | None]


def drawn(
    places: Sequence[Place], rows: Sequence[Row], logits_SV: Tensor, masks: Mapping[int, bytes], seed: int
) -> Verdict:
    """Draw the token of each place, and let its row remember it.

    `masks`, by the part of the plan, say which tokens may be drawn. `seed` is for rows that brought none.
    """
    finite_S = is_finite(logits_SV)
    for at, place in enumerate(places):
        if place.part in masks:
            logits_SV[at] = masked(logits_SV[at], masks[place.part])
    tokens_S = logits_SV.argmax(-1)
    scores: list[Score | None] = []
    for at, (place, row) in enumerate(zip(places, rows, strict=True)):
        if row.sampling.is_greedy and row.logprobs is None and not changes_logits(row, place.position):
            scores.append(None)
        else:
            tokens_S[at], found = drawn_alone(place, row, logits_SV[at].where(finite_S[at], 0), seed)
            scores.append(found)
        row.tokens.write(place.position, tokens_S[at : at + 1])
    return Verdict(places, tokens_S, finite_S, scores)


def drawn_alone(place: Place, row: Row, logits_V: Tensor, seed: int) -> tuple[Tensor, Score | None]:
    """The token of a place whose row asks for more than the best one, and its log-probability if it is wanted."""
    asked = row.sampling
    if changes_logits(row, place.position):
        logits_V = processed(logits_V, row, place.position)
    tempered_V = (logits_V - logits_V.max()) / asked.divisor  # subtracted first, so that nothing overflows
    if asked.is_greedy:
        token = logits_V.argmax()
    else:
        own_seed = seed if asked.sampling_seed is None else asked.sampling_seed
        token = draw(tempered_V, own_seed, place.position, asked.top_k, asked.top_p, asked.min_p)
    return token, None if row.logprobs is None else score(tempered_V, token, row.logprobs)


def scored(places: Sequence[Place], rows: Sequence[Row], logits_SV: Tensor) -> Verdict:
    """Log-probabilities of the prompt tokens at these places."""
    finite_S = is_finite(logits_SV)
    tokens_S = torch.cat([row.tokens[p.position : p.position + 1] for p, row in zip(places, rows, strict=True)])
    scores = [
        score(logits_SV[at].where(finite_S[at], 0), tokens_S[at], row.logprobs or LogprobSpec())
        for at, row in enumerate(rows)
    ]
    return Verdict(places, tokens_S, finite_S, scores)


def masked(logits_V: Tensor, words: bytes) -> Tensor:
    """The logits with minus infinity for every token whose bit is not set."""
    bits = np.unpackbits(np.frombuffer(words, np.uint8), count=len(logits_V), bitorder="little")
    return logits_V.where(torch.from_numpy(bits).bool(), -torch.inf)


def is_finite(logits_SV: Tensor) -> Tensor:
    """Whether a row has neither NaN nor infinity. Two reductions, which are cheaper than one isfinite."""
    return (logits_SV.amin(-1) > -torch.inf) & (logits_SV.amax(-1) < torch.inf)
