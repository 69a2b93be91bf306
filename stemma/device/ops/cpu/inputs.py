"""The native body of the op `inputs`: one call writes all that a step reads, to memory that is made once.

Shapes: ops/inputs.py
"""

from array import array
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.types.step import SPAN_BYTES, unpack_spans
from stemma.device.ops.cpu.library import Library
from stemma.device.ops.inputs import Inputs, Places, Tables


class NativeReader:
    """Views of the memory are made anew only when a step has another size than the one before it."""

    def __init__(self, library: Library, tables: Tables, tokens: int):
        self._library = library
        self._tables = tables
        self._columns_3T = torch.zeros(3, tokens, dtype=torch.int64)
        self._drawn_4R = torch.zeros(4, len(tables.known_R), dtype=torch.int64)
        self._ints_4R = np.asarray(self._drawn_4R)
        self._sizes = array("q", (0, 0))  # how many tokens, and how many are drawn
        said_R = torch.zeros(len(tables.known_R), dtype=torch.int32)
        self._said = np.asarray(said_R).data
        tensors: list[Tensor] = [self._columns_3T, self._drawn_4R, said_R, *tables[1:]]
        sizes = tokens, len(tables.known_R), tables.tokens_RC.shape[1], tables.pages_RP.shape[1], tables.page_size
        self._desk = array("q", (self._sizes.buffer_info()[0], *(each.data_ptr() for each in tensors), *sizes))
        self._at = self._desk.buffer_info()[0]
        self._spans = 0
        self._seen_sizes: tuple[int, ...] = (0, 0)
        self._seen = self._views(0, 0)

    def read(self, spans: bytes) -> Inputs:
        self._spans = len(spans) // SPAN_BYTES
        self._library.inputs.run(self._at, spans, self._spans)
        tokens, draws = sizes = tuple(self._sizes)
        if tokens < 0:
            span = list(unpack_spans(spans))[draws]
            raise self._tables.fault(span) or Bug(f"no step has room for {span}")
        if sizes != self._seen_sizes:
            self._seen, self._seen_sizes = self._views(tokens, draws), sizes
        return self._seen

    def keep(self, drawn: Sequence[Tensor]) -> bytes:
        first = 0
        for tokens_S in drawn:
            count = tokens_S.shape[0]
            self._library.keep.run(self._at, first, tokens_S.data_ptr(), count)
            first += count
        return self._said[: self._spans].tobytes()

    def _views(self, tokens: int, draws: int) -> Inputs:
        tokens_T, positions_T, slots_T = self._columns_3T[:, :tokens].unbind()
        part_S, row_S, position_S, _ = self._ints_4R[:, :draws]
        return Inputs(tokens_T, positions_T, slots_T, Places(part_S, row_S, position_S, self._drawn_4R[3, :draws]))
