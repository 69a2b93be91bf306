"""The masks of a step.

N rows under a grammar, W words of a mask
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stemma.control.grammar.matcher import Matcher
from stemma.control.scheduler.constraint import Constraint
from stemma.core.types.step import Masks

Fill: TypeAlias = Callable[[Sequence[Matcher], NDArray[np.uint32]], None]

EVERYTHING = np.uint32(0xFFFFFFFF)


class Draw(NamedTuple):
    """A row that draws under a grammar."""

    row: int
    constraint: Constraint
    may_end: bool  # min_new_tokens are out


def masks_of(draws: Sequence[Draw], words: int, fill: Fill) -> Masks:
    """One for each. Who may draw nothing has a verdict then, and draws whatever it likes in vain."""
    if not draws:
        return Masks()
    words_NW = np.empty((len(draws), words), np.uint32)
    fill([draw.constraint.matcher for draw in draws], words_NW)
    for at, (_, constraint, may_end) in enumerate(draws):
        if constraint.ends_otherwise or not may_end:
            constraint.end(words_NW[at], may_end)
    if not words_NW.max(axis=1).all():
        for (_, constraint, _), words_W in zip(draws, words_NW, strict=True):
            if not words_W.any():
                constraint.give_up(words_W)
                words_W[:] = EVERYTHING
    return Masks(tuple(draw.row for draw in draws), words_NW.tobytes())
