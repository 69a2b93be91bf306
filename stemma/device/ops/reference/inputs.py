"""From the rows of a plan to its tokens. Shapes: ops/inputs.py; N rows of the plan, each (row, start, count, draws)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from stemma.core.types.step import NO_TOKEN, SPAN_BYTES, unpack_spans
from stemma.device.ops.inputs import Inputs, Ints, Places, Reader, Tables


class TorchReader:
    """Makes the inputs of every step anew."""

    def __init__(self, tables: Tables, read: Callable[[Tables, bytes], Inputs]):
        self._tables = tables
        self._read = read

    def read(self, spans: bytes) -> Inputs:
        found = self._read(self._tables, spans)
        self._spans, self._drawn = len(spans) // SPAN_BYTES, found.drawn
        return found

    def keep(self, drawn: Sequence[Tensor]) -> bytes:
        said_N = np.full(self._spans, NO_TOKEN, np.int32)
        if drawn:
            tokens_S = torch.cat([*drawn]).int()
            rows, positions = torch.from_numpy(self._drawn.row_S), torch.from_numpy(self._drawn.position_S)
            self._tables.tokens_RC[rows, positions] = tokens_S
            self._tables.known_R[rows] = positions + 1
            said_N[self._drawn.part_S] = np.asarray(tokens_S)
        return said_N.tobytes()


def inputs(tables: Tables, tokens: int) -> Reader:
    """`tokens` is the most that a step has."""
    return TorchReader(tables, _read)


def checked(spans: bytes, tables: Tables) -> Ints:
    """The spans as an array of four columns. Raises Bug for what cannot be computed."""
    parts_N4 = np.frombuffer(spans, np.int64).reshape(-1, 4)
    row_N, start_N, count_N, draws_N = parts_N4.T
    columns = np.asarray(tables.known_R), np.asarray(tables.paged_R), np.asarray(tables.prompt_R)
    known_N, paged_N, prompt_N = (column_R.take(row_N, mode="clip") for column_R in columns)
    end_N, is_sound_N = start_N + count_N, (row_N >= 0) & (row_N < len(columns[0])) & (start_N >= 0) & (count_N > 0)
    is_sound_N &= (end_N <= known_N) & (end_N <= paged_N * tables.page_size) & ((draws_N == 0) | (end_N >= prompt_N))
    if not is_sound_N.all():
        raise next(filter(None, map(tables.fault, unpack_spans(spans))))
    return parts_N4


def drawn_places(parts_N4: Ints, zero_N: Ints) -> Places:
    """`zero_N` says where position 0 of each row would stand among the tokens."""
    row_N, start_N, count_N, draws_N = parts_N4.T
    part_S = draws_N.nonzero()[0]
    position_S = (start_N + count_N)[part_S]
    return Places(part_S, row_N[part_S], position_S, torch.from_numpy(zero_N[part_S] + position_S - 1))


def _read(tables: Tables, spans: bytes) -> Inputs:
    parts_N4 = checked(spans, tables)
    row_N, start_N, count_N, _ = parts_N4.T
    zero_N = count_N.cumsum() - count_N - start_N
    row_T = torch.from_numpy(row_N.repeat(count_N))
    positions_T = torch.from_numpy(np.arange(count_N.sum()) - zero_N.repeat(count_N))
    page_T, offset_T = positions_T // tables.page_size, positions_T % tables.page_size
    return Inputs(
        tokens_T=tables.tokens_RC[row_T, positions_T].long(),
        positions_T=positions_T,
        slots_T=tables.pages_RP[row_T, page_T] * tables.page_size + offset_T,
        drawn=drawn_places(parts_N4, zero_N),
    )
