"""What the device remembers of each seated sequence.

Positions are what plans speak of; the values at them are known here, also those that the host has not
seen yet: at a depth of 2 step N + 1 is planned before the token that step N draws is known to anyone.

Shapes: R rows, C positions of a context, P pages of one, N rows of a plan, S places
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import NO_PAGE, Seat, StepPlan, unpack_spans
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
    seated: int  # the plan that seated it
    step: int = -1  # the last plan that brought pages or tokens


class RowTable:
    """Rows by number. Owned by the Worker; a new Seat on a row replaces what was there.

    The tables are as wide as the context, but memory that nobody has written to takes no place.
    """

    def __init__(self, rows: int, context: int, page_size: int, vocab_size: int):
        self.page_size = page_size
        self.tokens_RC = np.zeros((rows, context + 1), np.int32)  # one may be drawn at the end of the context
        self.pages_RP = np.zeros((rows, ceil_div(context, page_size) + 1), np.int64)
        self.known_R, self.paged_R, self.prompt_R = np.zeros((3, rows), np.int64)
        columns = self.tokens_RC, self.pages_RP, self.known_R, self.paged_R, self.prompt_R
        self.tables = Tables(page_size, *map(torch.from_numpy, columns))
        self._pages, self._paged = self.pages_RP.data, self.paged_R.data  # quicker for single numbers
        self.vocab_size = vocab_size
        self._rows: dict[int, Row] = {}

    def __getitem__(self, row: int) -> Row:
        return self._rows[row]

    def copies(self, plan: StepPlan) -> list[tuple[int, int]]:
        """Source and target of each page that its seats begin with as a copy: before `apply`, and made once.

        When a plan is stepped again, somebody may have written to a source meanwhile.
        """
        return [
            (seat.copy_from, seat.pages[-1])
            for seat in plan.seats
            if seat.copy_from != NO_PAGE and ((row := self._rows.get(seat.row)) is None or row.seated != plan.step)
        ]

    def apply(self, plan: StepPlan) -> None:
        """Seat who is new and append pages. Applying one plan twice, or its rows one by one, is as good as once."""
        for seat in plan.seats:
            self._sit(seat, plan.step)
        for number, news in plan.news.items():
            row = self._rows.get(number)
            if row is not None and row.step != plan.step:
                row.step = plan.step
                self._append(number, news.pages)
                if news.given:
                    start = next(span.start for span in unpack_spans(plan.spans) if span.row == number)
                    self._write(number, start, news.given)

    def tokens_at(self, row_S: Ints, position_S: Ints) -> Tensor:
        return torch.from_numpy(self.tokens_RC[row_S, position_S].astype(np.int64))

    def _sit(self, seat: Seat, step: int) -> None:
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
            seated=step,
        )
        self.known_R[row], self.paged_R[row], self.prompt_R[row] = 0, 0, seat.prompt_len
        self._write(row, 0, seat.tokens)
        self._append(row, seat.pages)

    def _append(self, row: int, pages: tuple[int, ...]) -> None:
        at = self._paged[row]
        for page in pages:
            self._pages[row, at] = page
            at += 1
        self._paged[row] = at

    def _write(self, row: int, start: int, packed: bytes) -> None:
        tokens = np.frombuffer(packed, "<i4")
        if len(tokens):
            self.tokens_RC[row, start : start + len(tokens)] = tokens
            self.known_R[row] = start + len(tokens)


def _ids(ids: Iterable[int]) -> Ids:
    return np.array(list(ids), np.int32)
