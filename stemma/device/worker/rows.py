"""What the device remembers of each seated sequence.

Positions are what plans speak of; the values at them are known here, also those that the host has not
seen yet: at a depth of 2 step N + 1 is planned before the token that step N draws is known to anyone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import RowPlan, Seat, StepPlan


@dataclass(slots=True, eq=False)
class Tape:
    """A tensor of int64 that grows at its end, twice as long whenever it is full."""

    store: Tensor
    length: int

    @classmethod
    def of(cls, values: Tensor) -> Self:
        return cls(values, len(values))

    def write(self, at: int, values: Tensor) -> None:
        """Put values at `at` and forget what came after them."""
        end = at + len(values)
        if at > self.length:
            raise Bug(f"a write at {at} leaves a gap after {self.length}")
        if end > len(self.store):
            longer = self.store.new_empty(max(64, 2 * end))
            longer[:at] = self.store[:at]
            self.store = longer
        self.store[at:end] = values
        self.length = end

    def __getitem__(self, span: slice) -> Tensor:
        return self.store[: self.length][span]


@dataclass(slots=True, eq=False)
class Row:
    """One seated sequence. `tokens[p]` is the token at position p, `pages[i]` holds positions from i * page size."""

    tokens: Tape
    pages: Tape
    prompt_len: int
    sampling: SamplingParams
    logprobs: LogprobSpec | None
    stop_ids: Tensor
    bias_ids: Tensor
    bias_values: Tensor
    step: int = -1  # the last plan that was applied


class RowTable:
    """Rows by number. Owned by the Worker; a new Seat on a row replaces what was there."""

    def __init__(self, page_size: int, vocab_size: int):
        self.page_size = page_size
        self._vocab_size = vocab_size
        self._rows: dict[int, Row] = {}

    def __getitem__(self, row: int) -> Row:
        if row not in self._rows:
            raise Bug(f"row {row} is planned, but nobody was seated there")
        return self._rows[row]

    def apply(self, plan: StepPlan) -> None:
        """Seat who is new and append pages. Applying one plan twice, or its rows one by one, is as good as once."""
        for seat in plan.seats:
            self._rows[seat.row] = self._seated(seat)
        for part in plan.rows:
            row = self[part.row]
            if row.step != plan.step:
                row.pages.write(row.pages.length, torch.tensor(part.pages, dtype=torch.int64))
                if part.given:
                    row.tokens.write(part.start, unpacked(part.given))
                row.step = plan.step
            self._check(part, row)

    def _seated(self, seat: Seat) -> Row:
        bias = seat.sampling.logit_bias
        return Row(
            tokens=Tape.of(unpacked(seat.tokens)),
            pages=Tape.of(torch.tensor(seat.pages, dtype=torch.int64)),
            prompt_len=seat.prompt_len,
            sampling=seat.sampling,
            logprobs=seat.logprobs,
            # A stop id that the model cannot say needs no ban.
            stop_ids=self._ids(id for id in seat.stop_ids if id < self._vocab_size),
            bias_ids=self._ids(bias),
            bias_values=torch.tensor(list(bias.values()), dtype=torch.float32),
        )

    def _ids(self, ids: Iterable[int]) -> Tensor:
        return torch.tensor(list(ids), dtype=torch.int64)

    def _check(self, part: RowPlan, row: Row) -> None:
        end = part.start + part.count
        if part.count < 1 or end > row.tokens.length:
            raise Bug(f"row {part.row} is to compute [{part.start}, {end}) and knows {row.tokens.length} tokens")
        if part.samples and end < row.prompt_len:
            raise Bug(f"row {part.row} is to draw the token at {end}, inside its prompt of {row.prompt_len}")
        if end > row.pages.length * self.page_size:
            raise Bug(f"row {part.row} is to compute up to {end} on {row.pages.length} pages of {self.page_size}")


def unpacked(tokens: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(tokens, "<i4").astype(np.int64))
