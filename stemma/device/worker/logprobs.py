"""Log-probabilities beside tokens.

Of output tokens: the logarithm of the softmax from which truncation starts, that is, after penalties, ban,
bias and temperature (1 when greedy by temperature), before top-k, top-p and min-p. A banned token has -inf.
Of prompt tokens: the logarithm of the softmax of the model's own logits.

V vocabulary, K best tokens, C chosen tokens
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec
from stemma.device.ops.reference.sample import leaders


class Score(NamedTuple):
    """What will be one Logprob, still on the device."""

    logprob: Tensor
    top_ids_K: Tensor
    top_K: Tensor
    chosen_C: Tensor


def score(logits_V: Tensor, token: Tensor, spec: LogprobSpec) -> Score:
    """The log-probabilities of `token` and of those that `spec` names. One row alone: no other may touch its bits."""
    logprobs_V = logits_V.log_softmax(-1)
    top_ids_K = leaders(logprobs_V, spec.top)
    chosen_C = logprobs_V[torch.tensor(spec.token_ids, dtype=torch.int64)]
    return Score(logprobs_V.take(token), top_ids_K, logprobs_V[top_ids_K], chosen_C)
