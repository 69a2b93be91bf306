"""What the worker sees of a model.

Shapes: T tokens of the step, S places of T, D model width, V vocabulary.
"""

from typing import Protocol

from torch import Tensor

from stemma.device.layers.batch import ForwardBatch


class Model(Protocol):
    """A decoder-only language model. The caller provides inference mode."""

    def forward(self, batch: ForwardBatch) -> Tensor:
        """Hidden states of all tokens [T, D], after the final norm. Writes the step's keys and values."""
        ...

    def logits(self, hidden_TD: Tensor, places_S: Tensor) -> Tensor:
        """Scores over the vocabulary [S, V], in float32, of the hidden states at these places."""
        ...
