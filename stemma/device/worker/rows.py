"""What the device remembers of each seated sequence.

Positions are what plans speak of; the values at them are known here, also those that the host has not
seen yet: at a depth of 2 step N + 1 is planned before the token that step N draws is known to anyone.

Shapes: R rows, C positions of a context, P pages of one, N rows of a plan, S places
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.base.numbers import ceil_div
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import RowPlan, Seat, StepPlan
from stemma.device.ops.inputs import Ints, Tables

Ids = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Row:
    """What a seat said of one sequence."""

    prompt_len: int
    sampling: SamplingParams
    logprobs: LogprobSpec | None
    stop_ids: Ids
    bias_ids: Ids
    bias_values: NDArray[np.float32]
    tokens: Ids  # by position; its row of the table
    step: int = -1  # the last plan that brought pages or tokens


class Parts(NamedTuple):
    """The rows of a plan, and their columns."""

    table_N4: Ints  # row, start, count, draws
    row_N: Ints
    start_N: Ints
    count_N: Ints
    end_N: Ints
    draws_N: NDArray[np.bool_]


class RowTable:
    """Rows by number. Owned by the Worker; a new Seat on a row replaces what was there.

    The tables are as wide as the context, but memory that nobody has written to takes no place.
    """

    def __init__(self, rows: int, context: int, page_size: int, vocab_size: int):
        self.page_size = page_size
        self.tokens_RC = np.zeros((rows, context + 1), np.int32)  # one may be drawn at the end of the context
        self.pages_RP = np.zeros((rows, ceil_div(context, page_size) + 1), np.int64)
        self.tables = Tables(torch.from_numpy(self.tokens_RC), torch.from_numpy(self.pages_RP), page_size)
        self.known_R = np.zeros(rows, np.int64)  # tokens
        self.paged_R = np.zeros(rows, np.int64)  # pages
        self.prompt_R = np.zeros(rows, np.int64)  # where the answer begins
        self.vocab_size = vocab_size
        self._rows: dict[int, Row] = {}

    def __getitem__(self, row: int) -> Row:
        return self._rows[row]

    def apply(self, plan: StepPlan) -> Parts:
        """Seat who is new and append pages. Applying one plan twice, or its rows one by one, is as good as once."""
        for seat in plan.seats:
            self._sit(seat)
        for part in plan.rows:
            if part.pages or part.given:
                self._bring(part, plan.step)
        parts = _columns(plan)
        self._check(plan, parts)
        return parts

    def tokens_at(self, row_S: Ints, position_S: Ints) -> Tensor:
        return torch.from_numpy(self.tokens_RC[row_S, position_S].astype(np.int64))

    def remember(self, row_S: Ints, position_S: Ints, tokens_S: Tensor) -> None:
        """Put tokens at positions and forget what came after them."""
        self.tables.tokens_RC[torch.from_numpy(row_S), torch.from_numpy(position_S)] = tokens_S.int()
        self.known_R[row_S] = position_S + 1

    def _sit(self, seat: Seat) -> None:
        bias, row = seat.sampling.logit_bias, seat.row
        self._rows[row] = Row(
            prompt_len=seat.prompt_len,
            sampling=seat.sampling,
            logprobs=seat.logprobs,
            # A stop id that the model cannot say needs no ban.
            stop_ids=_ids(id for id in seat.stop_ids if id < self.vocab_size),
            bias_ids=_ids(bias),
            bias_values=np.array(list(bias.values()), np.float32),
            tokens=self.tokens_RC[row],
        )
        self.known_R[row], self.paged_R[row], self.prompt_R[row] = 0, 0, seat.prompt_len
        self._write(row, 0, seat.tokens)
        self._append(row, seat.pages)

    def _bring(self, part: RowPlan, step: int) -> None:
        row = self._rows.get(part.row)
        if row is not None and row.step != step:
            row.step = step
            self._append(part.row, part.pages)
            self._write(part.row, part.start, part.given)

    def _append(self, row: int, pages: tuple[int, ...]) -> None:
        begin = self.paged_R[row]
        self.pages_RP[row, begin : begin + len(pages)] = pages
        self.paged_R[row] += len(pages)

    def _write(self, row: int, start: int, packed: bytes) -> None:
        tokens = np.frombuffer(packed, "<i4")
        if len(tokens):
            self.tokens_RC[row, start : start + len(tokens)] = tokens
            self.known_R[row] = start + len(tokens)

    def _check(self, plan: StepPlan, parts: Parts) -> None:
        _, row_N, start_N, _, end_N, draws_N = parts
        known_N, room_N = self.known_R[row_N], self.paged_R[row_N] * self.page_size
        asks_early_N = draws_N & (end_N < self.prompt_R[row_N])
        if ((start_N < end_N) & (end_N <= known_N) & (end_N <= room_N) & ~asks_early_N).all():
            return
        for part, known, room, prompt in zip(plan.rows, known_N, room_N, self.prompt_R[row_N], strict=True):
            end = part.start + part.count
            if part.row not in self._rows:
                raise Bug(f"row {part.row} is planned, but nobody was seated there")
            if part.count < 1 or end > known:
                raise Bug(f"row {part.row} is to compute [{part.start}, {end}) and knows {known} tokens")
            if part.samples and end < prompt:
                raise Bug(f"row {part.row} is to draw the token at {end}, inside its prompt of {prompt}")
            if end > room:
                pages = room // self.page_size
                raise Bug(f"row {part.row} is to compute up to {end} on {pages} pages of {self.page_size}")


def _columns(plan: StepPlan) -> Parts:
    words = array("q", [word for part in plan.rows for word in (part.row, part.start, part.count, part.samples)])
    table_N4 = np.frombuffer(words, np.int64).reshape(-1, 4)
    row_N, start_N, count_N, draws_N = table_N4.T
    return Parts(table_N4, row_N, start_N, count_N, start_N + count_N, draws_N != 0)


def _ids(ids: Iterable[int]) -> Ids:
    return np.array(list(ids), np.int32)
