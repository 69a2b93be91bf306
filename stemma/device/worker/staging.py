"""The one copy of a step: all that the device is told of it, in memory that it reads while the host goes on.

Shapes: N rows of the step with those that fill it up, M changes of tables, B bytes of a record.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.step import NO_TOKEN
from stemma.device.ops.cpu.sampling import ASK, Records
from stemma.device.ops.inputs import Ints
from stemma.device.platforms.platform import Platform
from stemma.device.worker.device_rows import Changes

_NUMBERS = 8  # int64 words of a row: three columns, three of its span, which token is asked, where its answer goes
_ASK = ASK.itemsize // 8
MOST_CHANGES = 4096  # that fit beside the rows; more are copied by themselves


class Sheet(NamedTuple):
    """What a step of N rows is told, as views of words: of the host's or of the device's."""

    columns_3N: Tensor  # number of the row, its first token in the step, where its position 0 would stand
    spans_N3: Tensor  # start, count, row
    asked_N: Tensor  # the last token of each row
    target_N: Tensor  # the word of the tables that its answer becomes
    asks_NB: Tensor  # records, as bytes


def sheet(words: Tensor, rows: int) -> Sheet:
    numbers, asks = words[: _NUMBERS * rows], words[_NUMBERS * rows : (_NUMBERS + _ASK) * rows]
    columns, spans, asked_N, target_N = torch.split(numbers, [3 * rows, 3 * rows, rows, rows])
    return Sheet(columns.view(3, rows), spans.view(rows, 3), asked_N, target_N, asks.view(torch.uint8).view(rows, -1))


def _words(rows: int) -> int:
    """Of a sheet."""
    return (_NUMBERS + _ASK) * rows


class Draft(NamedTuple):
    """A sheet that is being written, as arrays of the host."""

    columns_3N: Ints
    spans_N3: Ints
    asked_N: Ints
    target_N: Ints
    asks_N: Records
    words: Tensor  # all of it
    found_N: Tensor  # where its answers come back


class Slot:
    """One step's memory on the host. Written anew when what was queued behind it is done."""

    def __init__(self, platform: Platform, words: int, rows: int, mask_words: int):
        self.words = platform.pinned(words, torch.int64)
        self.numbers = np.asarray(self.words)
        self.found_N = platform.pinned(rows, torch.int32)  # what comes back: tokens
        self.found = np.asarray(self.found_N)
        self.masks = platform.pinned(rows * mask_words, torch.int32)  # of all rows under a mask
        self.mark = platform.mark()
        self.decodes: tuple[int, bytes] | None = None  # what the sheet holds, if only positions change: `advance`
        self._drafts: dict[int, Draft] = {}

    def draft(self, rows: int) -> Draft:
        """The sheet of a step of so many rows."""
        found = self._drafts.get(rows)
        if found is None:
            columns, spans, asked, target, asks = (np.asarray(part) for part in sheet(self.words, rows))
            words, found_N = self.words[: _words(rows)], self.found_N[:rows]
            found = self._drafts[rows] = Draft(columns, spans, asked, target, asks.view(ASK)[:, 0], words, found_N)
        return found


class Staging:
    """A ring of slots, and the memory of the device that they are copied to. Owned by the worker."""

    def __init__(self, platform: Platform, rows: int, vocab_size: int, slots: int):
        count = _words(rows) + 2 * MOST_CHANGES
        self._mask_words = -(-vocab_size // 32)
        self._platform = platform
        self.words = torch.zeros(count, dtype=torch.int64, device=platform.device)
        self.masks = torch.zeros(rows * self._mask_words, dtype=torch.int32, device=platform.device)
        self.found_N = torch.full((rows,), NO_TOKEN, dtype=torch.int32, device=platform.device)
        self._slots = [Slot(platform, count, rows, self._mask_words) for _ in range(slots)]
        self._next = 0
        self._there: dict[int, tuple[Tensor, Tensor]] = {}  # sheet and answers on the device, by rows

    def take(self) -> Slot:
        """The slot that was used longest ago: its step has been waited for, unless nobody wanted its result."""
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        slot.mark.wait()
        return slot

    def send(self, slot: Slot, rows: int, changes: Changes | None) -> tuple[Tensor, Tensor] | None:
        """Copy a sheet of so many rows, and the changes; these come back as they lie on the device."""
        if changes is None or len(changes.place_M) > MOST_CHANGES:
            if rows:
                self._of(rows)[0].copy_(slot.draft(rows).words, non_blocking=True)
            return None if changes is None else (self.upload(changes.place_M), self.upload(changes.value_M))
        count = len(changes.place_M)
        used = _words(rows)
        middle, whole = used + count, used + 2 * count
        slot.numbers[used:middle], slot.numbers[middle:whole] = changes
        self.words[:whole].copy_(slot.words[:whole], non_blocking=True)
        return self.words[used:middle], self.words[middle:whole]

    def fetch(self, slot: Slot, rows: int) -> None:
        """Copy what was found to the host."""
        slot.draft(rows).found_N.copy_(self._of(rows)[1], non_blocking=True)

    def _of(self, rows: int) -> tuple[Tensor, Tensor]:
        found = self._there.get(rows)
        if found is None:
            found = self._there[rows] = self.words[: _words(rows)], self.found_N[:rows]
        return found

    def send_asks(self, slot: Slot, rows: int) -> None:
        """Copy the records alone, once more."""
        asks = slice(_NUMBERS * rows, (_NUMBERS + _ASK) * rows)
        self.words[asks].copy_(slot.words[asks], non_blocking=True)

    def send_masks(self, slot: Slot, words: bytes) -> Ints:
        """Copy the masks of all rows that have one. Their addresses."""
        given = np.frombuffer(words, np.int32)
        np.asarray(slot.masks)[: len(given)] = given
        self.masks[: len(given)].copy_(slot.masks[: len(given)], non_blocking=True)
        return self.masks.data_ptr() + 4 * np.arange(0, len(given), self._mask_words)

    def upload(self, numbers: np.ndarray) -> Tensor:
        """A tensor of its own, for what is rare or large."""
        host = torch.from_numpy(np.ascontiguousarray(numbers))
        pinned = self._platform.pinned(host.numel(), host.dtype)
        pinned.copy_(host.view(-1))
        return torch.empty_like(host, device=self._platform.device).copy_(pinned.view_as(host), non_blocking=True)

    def download(self, numbers: Tensor) -> Tensor:
        """Memory of the host that holds these once a mark behind this call is reached."""
        pinned = self._platform.pinned(numbers.numel(), numbers.dtype)
        return pinned.view(numbers.shape).copy_(numbers, non_blocking=True)


def advance(draft: Draft, start_N: Ints, target_N: Ints) -> None:
    """Write down a step of one token for each row, over one of the same rows with the same wishes."""
    count = len(start_N)
    draft.columns_3N[2, :count] = draft.columns_3N[1, :count] - start_N
    draft.spans_N3[:count, 0], draft.target_N[:count] = start_N, target_N
    draft.asks_N["position"][:count] = start_N + 1


def fill(draft: Draft, spans_N4: Ints, nobody: int, target_N: Ints, asks_N: Records, idle: Records) -> None:
    """Write a step down. Rows behind the last own the tokens that fill it up, and draw in vain."""
    columns_3N, spans_N3, asked_N, targets_N, all_asks_N = draft[:5]
    count = len(spans_N4)
    row_N, start_N, count_N, _ = spans_N4.T
    end_N = count_N.cumsum()
    first_N = end_N - count_N
    columns_3N[0, :count], columns_3N[1, :count], columns_3N[2, :count] = row_N, first_N, first_N - start_N
    spans_N3[:count, 0], spans_N3[:count, 1], spans_N3[:count, 2] = start_N, count_N, row_N
    asked_N[:count], targets_N[:count], all_asks_N[:count] = end_N - 1, target_N, asks_N
    if count < len(asked_N):
        columns_3N[:, count:] = [[-1], [end_N[-1]], [0]]
        spans_N3[count:] = 0
        asked_N[count:], targets_N[count:], all_asks_N[count:] = 0, nobody, idle
