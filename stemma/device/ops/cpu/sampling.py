"""Native bodies of the draw and of log-probabilities. What each row asks for is a record in an array.

Only addresses go into the records: who fills them keeps the arrays alive. S places, V vocabulary, K best tokens,
C chosen tokens, W rows whose log-probabilities are wanted.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.device.ops.cpu.library import Library

Records = NDArray[np.void]

ASK = np.dtype(
    [
        ("tokens", np.uint64),  # int32, by position: prompt, then answer
        ("stop_ids", np.uint64),  # int32; banned in the first min_new_tokens of the answer
        ("bias_ids", np.uint64),  # int32, each once
        ("bias_values", np.uint64),  # float32
        ("mask", np.uint64),  # uint32 words whose bit i % 32 of word i // 32 allows token i; 0: all are allowed
        ("seed", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float64),
        ("divisor", np.float32),
        ("frequency", np.float32),
        ("presence", np.float32),
        ("repetition", np.float32),
        ("prompt_len", np.int32),
        ("position", np.int32),  # of the token to be drawn
        ("top_k", np.int32),
        ("min_new_tokens", np.int32),
        ("num_stops", np.int32),
        ("num_biases", np.int32),
        ("num_words", np.int32),  # of the mask; tokens behind the last one are not allowed
        ("greedy", np.bool_),
        ("scored", np.bool_),  # the row's logits become those that log-probabilities are taken from
    ],
    align=True,
)
WANT = np.dtype(
    [
        ("chosen_ids", np.uint64),  # int32
        ("row", np.int64),  # of the logits and of the tokens
        ("num_chosen", np.int32),
        ("top", np.int32),  # at most the vocabulary
    ],
    align=True,
)


_FINE, _BANNED = 1, 2  # states of a place (sample.cpp)


class Drawn(NamedTuple):
    """A token for each place. It means nothing where logits were not finite or everything was banned."""

    tokens_S: Tensor
    finite_S: Tensor  # False also where everything was banned
    banned_S: Tensor


class Scores(NamedTuple):
    """Log-probabilities. Row w has WANT's `top` and `num_chosen` values; what lies behind them means nothing."""

    logprobs_W: Tensor
    top_ids_WK: Tensor
    top_WK: Tensor
    chosen_WC: Tensor


def sample(library: Library, logits_SV: Tensor, asks_S: Records) -> Drawn:
    """Draw. The logits, contiguous in float32, are working memory: what they become is told only if `scored`."""
    places, vocab = logits_SV.shape
    tokens_S, states_S = torch.empty(places, dtype=torch.int64), np.empty(places, np.uint8)
    library.sample(logits_SV, places, vocab, asks_S.ctypes.data, tokens_S, states_S.ctypes.data)
    # Comparing them in torch takes ten times as long.
    return Drawn(tokens_S, torch.from_numpy(states_S == _FINE), torch.from_numpy(states_S == _BANNED))


def score(library: Library, logits_SV: Tensor, tokens_S: Tensor, wants_W: Records) -> Scores:
    """The log-softmax of the wanted rows at their tokens, at their best tokens and at those that they chose."""
    wanted, best, chosen = len(wants_W), int(wants_W["top"].max(initial=0)), int(wants_W["num_chosen"].max(initial=0))
    scores = Scores(
        torch.empty(wanted),
        torch.empty(wanted, best, dtype=torch.int32),
        torch.empty(wanted, best),
        torch.empty(wanted, chosen),
    )
    wants = wants_W.ctypes.data, wanted
    library.score(logits_SV, logits_SV.shape[1], tokens_S, *wants, *scores[:3], best, scores.chosen_WC, chosen)
    return scores
