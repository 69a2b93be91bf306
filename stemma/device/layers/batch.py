"""All that a model may look at in one step.

Shapes: T tokens of the step.
"""

from typing import NamedTuple

from torch import Tensor

from stemma.device.attention.backend import AttentionPlan


class ForwardBatch(NamedTuple):
    """The tokens of all rows, one row after the other."""

    tokens_T: Tensor  # int64
    positions_T: Tensor  # int64
    slots_T: Tensor  # int64: page * page_size + offset, where each new key and value is written
    attention: AttentionPlan

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All tensors of it."""
        return self.tokens_T, self.positions_T, self.slots_T, *self.attention.inputs
