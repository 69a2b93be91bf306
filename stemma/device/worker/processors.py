"""What a request asks to be done to its logits before a token is drawn.

In this order, that of SGLang: frequency and presence penalties, the ban of stop ids, the repetition
penalty, logit_bias. The penalties look at output tokens only, also at those before a preemption.

V vocabulary
"""

import torch
from torch import Tensor

from stemma.device.worker.rows import Row


def changes_logits(row: Row, position: int) -> bool:
    """Whether `processed` would do anything for the token at `position`."""
    return row.sampling.has_penalties or len(row.bias_ids) > 0 or is_too_early(row, position)


def is_too_early(row: Row, position: int) -> bool:
    """Whether the answer may not end with the token at `position`."""
    return len(row.stop_ids) > 0 and position - row.prompt_len < row.sampling.min_new_tokens


def processed(logits_V: Tensor, row: Row, position: int) -> Tensor:
    """The logits for the token at `position`, changed; not in place. Banned tokens are at minus infinity."""
    asked = row.sampling
    counts_V = torch.from_numpy(row.tokens[row.prompt_len : position]).bincount(minlength=len(logits_V))
    seen_V = counts_V > 0
    logits_V = logits_V - counts_V * asked.frequency_penalty - seen_V * asked.presence_penalty
    if is_too_early(row, position):
        logits_V[torch.from_numpy(row.stop_ids).long()] = -torch.inf
    scaled_V = torch.where(logits_V > 0, logits_V / asked.repetition_penalty, logits_V * asked.repetition_penalty)
    logits_V = torch.where(seen_V, scaled_V, logits_V)
    logits_V[torch.from_numpy(row.bias_ids).long()] += torch.from_numpy(row.bias_values)
    return logits_V.clamp_(max=torch.finfo(torch.float32).max)  # a tiny penalty may divide beyond what is finite
