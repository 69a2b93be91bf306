"""The native body of the sampler: one call draws for all rows, one more scores those that want it.

R rows, S places of one slice, W those that are scored, V vocabulary; M rows under a mask, of W words
"""

import numpy as np
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec
from stemma.core.types.step import Masks
from stemma.device.ops.cpu.library import Library
from stemma.device.ops.cpu.sampling import ASK, WANT, Records, sample, score
from stemma.device.ops.inputs import Ints, Places
from stemma.device.worker.logprobs import Score
from stemma.device.worker.rows import Ids, Row, RowTable
from stemma.device.worker.sampler import Verdict, is_finite

_NO_LOGPROBS = LogprobSpec()


class NativeSampler:
    """What each row asks for is written down when it sits; a step adds positions and masks."""

    def __init__(self, library: Library, rows: RowTable, seed: int):
        self._library = library
        self._rows = rows
        self._seed = seed  # of rows that brought none
        self._asks_R = np.zeros(len(rows.known_R), ASK)
        self._wants_R = np.zeros(len(rows.known_R), WANT)
        self._chosen: dict[int, Ids] = {}  # keeps alive what the wants hold addresses of

    def sit(self, number: int, row: Row) -> None:
        asked, wanted = row.sampling, row.logprobs or _NO_LOGPROBS
        chosen = self._chosen[number] = np.array(wanted.token_ids, np.int32)
        self._wants_R[number] = (chosen.ctypes.data, 0, len(chosen), min(wanted.top, self._rows.vocab_size))
        ask = self._asks_R[number]
        for name in ("tokens", "stop_ids", "bias_ids", "bias_values"):
            ask[name] = getattr(row, name).ctypes.data
        for name in ("divisor", "top_p", "min_p", "top_k", "min_new_tokens"):
            ask[name] = getattr(asked, name)
        for name in ("frequency", "presence", "repetition"):
            ask[name] = getattr(asked, f"{name}_penalty")
        ask["num_stops"], ask["num_biases"] = len(row.stop_ids), len(row.bias_ids)
        ask["seed"] = self._seed if asked.sampling_seed is None else asked.sampling_seed
        ask["prompt_len"], ask["greedy"], ask["scored"] = row.prompt_len, asked.is_greedy, row.logprobs is not None

    def drawn(self, places: Places, logits_SV: Tensor, masks: Masks) -> Verdict:
        asks_S = self._asks_R.take(places.row_S)  # a quarter of what an index takes
        asks_S["position"] = places.position_S
        if masks.rows:
            words_MW = np.frombuffer(masks.words, np.uint32).reshape(len(masks.rows), -1)  # alive until they are read
            mask_R = np.zeros(len(self._asks_R), np.uint64)
            mask_R[[*masks.rows]] = words_MW.ctypes.data + words_MW.strides[0] * np.arange(len(words_MW))
            asks_S["mask"], asks_S["num_words"] = mask_R[places.row_S], words_MW.shape[1]
        tokens_S, finite_S, banned_S = sample(self._library, logits_SV, asks_S)
        scores = self._scores(logits_SV, tokens_S, places, asks_S["scored"].nonzero()[0])
        return Verdict(places, tokens_S, finite_S, scores, banned_S)

    def scored(self, places: Places, logits_SV: Tensor) -> Verdict:
        tokens_S = self._rows.tokens_at(places.row_S, places.position_S)
        scores = self._scores(logits_SV, tokens_S, places, np.arange(len(places.row_S)))
        return Verdict(places, tokens_S, is_finite(logits_SV), scores)

    def _scores(self, logits_SV: Tensor, tokens_S: Tensor, places: Places, at_W: Ints) -> dict[int, Score]:
        if not len(at_W):
            return {}
        wants_W: Records = self._wants_R[places.row_S[at_W]]
        wants_W["row"] = at_W
        found = score(self._library, logits_SV, tokens_S, wants_W)
        return {
            at: Score(
                found.logprobs_W[w],
                found.top_ids_WK[w, : want["top"]],
                found.top_WK[w, : want["top"]],
                found.chosen_WC[w, : want["num_chosen"]],
            )
            for w, (at, want) in enumerate(zip(at_W, wants_W, strict=True))
        }
