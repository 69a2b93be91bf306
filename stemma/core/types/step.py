"""The record between control and device: a plan goes down, a result comes up.

What every row has stands in columns of integers, packed: a step of many rows is a few objects, not thousands. What
few rows have is told by row.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from stemma.core.types.output import Logprob
from stemma.core.types.sampling import LogprobSpec, SamplingParams


class Masks(Struct, frozen=True, array_like=True):
    """Which tokens these rows may draw; all others are free.

    Token t is allowed when bit t % 32 of little-endian word t // 32 is set; the words of all rows lie one after the
    other, as many of each.
    """

    rows: tuple[int, ...] = ()
    words: bytes = b""

    def by_row(self) -> dict[int, bytes]:
        size = len(self.words) // max(len(self.rows), 1)
        return {row: self.words[at * size : (at + 1) * size] for at, row in enumerate(self.rows)}


NO_TOKEN = -1  # of a row that drew none
NO_PAGE = -1


class Seat(Struct, frozen=True, kw_only=True, array_like=True):
    """A sequence takes a row. Sent once; afterwards the row number is enough."""

    row: int
    tokens: bytes  # all tokens known so far, packed: prompt, then output
    prompt_len: int  # where the output begins
    pages: tuple[int, ...]  # pages of the prefix that was found
    copy_from: int = NO_PAGE  # the last of them is to become a copy of this one, before anything is written
    sampling: SamplingParams
    logprobs: LogprobSpec | None = None
    stop_ids: tuple[int, ...] = ()  # every id that ends it; not drawn before min_new_tokens are out


class Span(NamedTuple):
    """Compute positions [start, start + count) of a row."""

    row: int
    start: int
    count: int  # type: ignore[assignment]  # in place of a tuple's method, which nobody wants here
    draws: int  # 1: the last position yields the token at start + count


class News(Struct, frozen=True, array_like=True, gc=False):
    """What a row is told beside its span."""

    pages: tuple[int, ...] = ()  # appended to its table by this step
    given: bytes = b""  # packed tokens from the span's start on, in place of what was drawn; may reach beyond its end
    score_from: int = -1  # first position p of the span whose successor p + 1 is a prompt token to score; -1: none


class StepPlan(Struct, frozen=True, kw_only=True, array_like=True):
    """One forward pass. Rows are computed in this order on every rank; a row stands at most once."""

    step: int
    seats: tuple[Seat, ...] = ()
    spans: bytes = b""  # packed: a Span for each row
    news: Mapping[int, News] = {}  # by row
    is_masked: bool = False  # masks follow, made while the forward pass runs


class Findings(Struct, frozen=True, array_like=True, gc=False):
    """What a row yielded beside its token. A fault fails its row alone."""

    logprobs: tuple[Logprob, ...] = ()  # of its token, when asked for
    prompt_logprobs: tuple[Logprob, ...] = ()  # successors of positions score_from .. start + count - 1, prompt only
    fault: str | None = None


class StepResult(Struct, frozen=True, kw_only=True, array_like=True):
    """The answer to the plan with the same number."""

    step: int
    tokens: bytes = b""  # packed: for each row of the plan what it drew, or NO_TOKEN
    findings: Mapping[int, Findings] = {}  # by row
    seconds: float = 0.0
    computed: int = 0  # tokens that the model was run on


SPAN_BYTES = 32


def pack_spans(words: Iterable[int]) -> bytes:
    """Of the spans' fields, one after the other: 64 bits each, in the processor's order."""
    words = tuple(words)
    return struct.pack(f"{len(words)}q", *words)  # half the time that an array takes to be filled


def unpack_span(packed: bytes, at: int) -> Span:
    return Span._make(struct.unpack_from("4q", packed, SPAN_BYTES * at))


def unpack_spans(packed: bytes) -> Iterator[Span]:
    words = iter(memoryview(packed).cast("q"))
    return map(Span._make, zip(words, words, words, words, strict=True))
