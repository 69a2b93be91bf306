"""Spans for attention, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stemma.core.types.step import pack_spans
from stemma.device.attention.backend import Spans


@dataclass(frozen=True)
class Span:
    start: int
    count: int
    pages: Tensor


def together(spans: Sequence[Span]) -> Spans:
    """A step of these spans, each in a row of its own."""
    pages_RP = np.full((len(spans), max(len(span.pages) for span in spans)), -1, np.int64)
    for row, span in enumerate(spans):
        pages_RP[row, : len(span.pages)] = span.pages.numpy()
    packed = pack_spans(word for row, span in enumerate(spans) for word in (row, span.start, span.count, 0))
    return Spans(packed, pages_RP)
