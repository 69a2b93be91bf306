"""The tables of rows, as they stand on an accelerator: one piece of memory, changed by one scatter.

Shapes: R rows that sit, C positions of a context, P pages of one, N rows of a plan, M changes
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.step import StepPlan, unpack_spans
from stemma.device.ops.inputs import Ints, Tables
from stemma.device.worker.rows import Ids, RowTable


class Changes(NamedTuple):
    """Words of the memory, and what they become."""

    place_M: Ints
    value_M: Ints


class DeviceRows:
    """What the host knows of rows is there too; the tokens that were drawn are there alone.

    One more row, of nobody: what is drawn for who fills up a step goes there.
    """

    def __init__(self, rows: RowTable, device: torch.device):
        self._rows = rows
        (count, self._context), self._pages = rows.tokens_RC.shape, rows.pages_RP.shape[1]
        self._pages_at = (count + 1) * self._context
        self.memory = torch.zeros((count + 1) * (self._context + self._pages), dtype=torch.int32, device=device)
        tokens_RC = self.memory[: self._pages_at].view(-1, self._context)
        pages_RP = self.memory[self._pages_at :].view(-1, self._pages)
        self.tables: Tables = rows.tables._replace(tokens_RC=tokens_RC, pages_RP=pages_RP)
        self.nobody = count * self._context

    def token_places(self, row_N: Ints, position_N: Ints) -> Ints:
        """Where in the memory these tokens stand."""
        return row_N * self._context + position_N

    def token_addresses(self) -> Ints:
        """Of each row's tokens."""
        first, step = self.tables.tokens_RC.data_ptr(), self._context * self.memory.element_size()
        return first + step * np.arange(len(self._rows.known_R))

    def changes(self, plan: StepPlan) -> Changes | None:
        """What a plan, which the host's rows have applied, changes. The same again changes nothing more."""
        if not (plan.seats or plan.news):
            return None
        rows, paged = self._rows, self._rows.paged_R.data  # quicker for single numbers
        places, values = list[int](), list[int]()  # of the few that news bring
        for row, news in plan.news.items():
            end = self._pages_at + row * self._pages + paged[row]
            places += range(end - len(news.pages), end)
            values += news.pages
            if news.given:
                start = next(span.start for span in unpack_spans(plan.spans) if span.row == row)
                given = memoryview(news.given).cast("i")
                places += range(row * self._context + start, row * self._context + start + len(given))
                values += given
        place_M: list[Ints] = [np.array(places, np.int64)]
        value_M: list[Ints | Ids] = [np.array(values, np.int64)]
        for seat in plan.seats:
            for first, numbers_M in (
                (seat.row * self._context, rows.tokens_RC[seat.row, : rows.known_R[seat.row]]),
                (self._pages_at + seat.row * self._pages, rows.pages_RP[seat.row, : rows.paged_R[seat.row]]),
            ):
                place_M.append(np.arange(first, first + len(numbers_M)))
                value_M.append(numbers_M)
        return Changes(np.concatenate(place_M), np.concatenate(value_M, dtype=np.int64))

    def change(self, place_M: Tensor, value_M: Tensor) -> None:
        """Queue changes that lie on the device; each place stands once, or gets the same value."""
        self.memory.index_copy_(0, place_M, value_M.to(torch.int32))
