"""Logits to tokens and their log-probabilities: the seam, and its body in plain torch.

S places of one slice, V vocabulary
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Masks
from stemma.device.ops.inputs import Places
from stemma.device.ops.reference.sample import draw
from stemma.device.worker.logprobs import Score, score
from stemma.device.worker.processors import changes_logits, processed
from stemma.device.worker.rows import Row, RowTable


class Verdict(NamedTuple):
    """What the logits of some places said. The token of a place is drawn or, in a prompt, given."""

    places: Places
    tokens_S: Tensor
    finite_S: Tensor  # False: the logits were not, and the token means nothing
    scores: Mapping[int, Score] = {}  # by place, where they are wanted
    banned_S: Tensor | None = None  # True: every token was banned; such a place counts as not finite


class Sampler(Protocol):
    """A row's token and its bits are a function of (its logits, its wishes, its seed, the position), whatever stands
    beside it. Logits are working memory."""

    def sit(self, number: int, row: Row) -> None:
        """A sequence took a row."""

    def drawn(self, places: Places, logits_SV: Tensor, masks: Masks) -> Verdict:
        """A token for each place. `masks` say which tokens may be drawn."""
        ...

    def scored(self, places: Places, logits_SV: Tensor) -> Verdict:
        """Log-probabilities of the prompt tokens at these places."""
        ...


class TorchSampler:
    """Greedy rows without wishes are one argmax over all of them; every other row is worked on alone."""

    def __init__(self, rows: RowTable, seed: int):
        self._rows = rows
        self._seed = seed  # of rows that brought none

    def sit(self, number: int, row: Row) -> None:
        """Nothing is kept of it here."""

    def drawn(self, places: Places, logits_SV: Tensor, masks: Masks) -> Verdict:
        finite_S, scores = is_finite(logits_SV), {}
        banned_S = torch.zeros_like(finite_S)
        allowed = masks.by_row()
        for at, number in enumerate(places.row_S):
            if number in allowed:
                logits_SV[at] = masked(logits_SV[at], allowed[number])
        tokens_S = logits_SV.argmax(-1)
        for at, (_, number, position) in enumerate(zip(*places[:3], strict=True)):
            row = self._rows[number]
            changes = changes_logits(row, position)
            if row.sampling.is_greedy and row.logprobs is None and not changes and number not in allowed:
                continue
            logits_V = logits_SV[at].where(finite_S[at], 0)
            if changes:
                logits_V = processed(logits_V, row, position)
            if logits_V.max() == -torch.inf:
                finite_S[at], banned_S[at] = False, True
                continue
            tempered_V, tokens_S[at] = self._alone(row.sampling, position, logits_V)
            if row.logprobs is not None:
                scores[at] = score(tempered_V, tokens_S[at], row.logprobs)
        return Verdict(places, tokens_S, finite_S, scores, banned_S)

    def scored(self, places: Places, logits_SV: Tensor) -> Verdict:
        finite_S, tokens_S = is_finite(logits_SV), self._rows.tokens_at(places.row_S, places.position_S)
        scores = {
            at: score(logits_SV[at].where(finite_S[at], 0), tokens_S[at], self._rows[row].logprobs or LogprobSpec())
            for at, row in enumerate(places.row_S)
        }
        return Verdict(places, tokens_S, finite_S, scores)

    def _alone(self, asked: SamplingParams, position: int, logits_V: Tensor) -> tuple[Tensor, Tensor]:
        """Of a row that asks for more than the best token: what log-probabilities are taken from, and its token."""
        tempered_V = (logits_V - logits_V.max()) / asked.divisor  # subtracted first, so that nothing overflows
        if asked.is_greedy:
            return tempered_V, logits_V.argmax()
        seed = self._seed if asked.sampling_seed is None else asked.sampling_seed
        return tempered_V, draw(tempered_V, seed, position, asked.top_k, asked.top_p, asked.min_p)


def masked(logits_V: Tensor, words: bytes) -> Tensor:
    """The logits with minus infinity for every token whose bit is not set."""
    bits = np.unpackbits(np.frombuffer(words, np.uint8), count=len(logits_V), bitorder="little")
    return logits_V.where(torch.from_numpy(bits).bool(), -torch.inf)


def is_finite(logits_SV: Tensor) -> Tensor:
    """Whether a row has neither NaN nor infinity. Two reductions, which are cheaper than one isfinite."""
    return (logits_SV.amin(-1) > -torch.inf) & (logits_SV.amax(-1) < torch.inf)
