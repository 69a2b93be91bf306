"""What the op `inputs` takes and gives.

Shapes: R rows that sit, C positions of a context, P pages of one, T tokens of the step, S places whose tokens it draws
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.types.step import Span

Ints = NDArray[np.int64]


class Tables(NamedTuple):
    """A row for each that sits; int64 where nothing is said."""

    page_size: int
    tokens_RC: Tensor  # int32, by position
    pages_RP: Tensor
    known_R: Tensor  # tokens
    paged_R: Tensor  # pages
    prompt_R: Tensor  # where the answer begins

    def fault(self, span: Span) -> Bug | None:
        """Why a span cannot be computed."""
        row, start, count, draws = span
        if not 0 <= row < len(self.known_R) or not self.known_R[row]:
            return Bug(f"row {row} is planned, but nobody was seated there")
        known, pages, prompt = (int(column_R[row]) for column_R in (self.known_R, self.paged_R, self.prompt_R))
        end = start + count
        if count < 1 or start < 0 or end > known:
            return Bug(f"row {row} is to compute [{start}, {end}) and knows {known} tokens")
        if draws and end < prompt:
            return Bug(f"row {row} is to draw the token at {end}, inside its prompt of {prompt}")
        if end > pages * self.page_size:
            return Bug(f"row {row} is to compute up to {end} on {pages} pages of {self.page_size}")
        return None


class Places(NamedTuple):
    """Tokens whose logits are wanted."""

    part_S: Ints  # which of the plan's rows
    row_S: Ints
    position_S: Ints  # of the token
    asked_S: Tensor  # which of the step's tokens it follows

    def slice(self, begin: int, end: int) -> "Places":
        part_S, row_S, position_S, asked_S = self
        return Places(part_S[begin:end], row_S[begin:end], position_S[begin:end], asked_S[begin:end])


class Inputs(NamedTuple):
    """The tokens of a plan's rows side by side, in its order. They hold until the next step is read."""

    tokens_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    drawn: Places


class Reader(Protocol):
    """Turns the spans of a plan into what a model reads, and keeps what it draws."""

    def read(self, spans: bytes) -> Inputs:
        """Of packed spans. Raises Bug for what cannot be computed."""
        ...

    def keep(self, drawn: Sequence[Tensor]) -> bytes:
        """Put tokens, given in parts, at the places of the draws, and forget what came after them.

        Returns them for all spans, packed: NO_TOKEN for those that draw none.
        """
        ...
