"""All that a model may look at in one step.

Shapes: T tokens of the step, S positions whose logits are wanted.
"""

from dataclasses import dataclass

from torch import Tensor

from stemma.device.attention.backend import AttentionPlan


@dataclass(slots=True, frozen=True)
class ForwardBatch:
    """The tokens of all rows, one row after the other."""

    tokens_T: Tensor  # int64
    positions_T: Tensor  # int64
    slots_T: Tensor  # int64: page * page_size + offset, where each new key and value is written
    sample_at_S: Tensor  # int64 indices into T whose logits are wanted
    attention: AttentionPlan
