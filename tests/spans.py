"""Spans for attention, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

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
    return Spans(
        start_N=np.array([span.start for span in spans]),
        count_N=np.array([span.count for span in spans]),
        row_N=np.arange(len(spans)),
        pages_RP=pages_RP,
    )
