"""The record between control and device: a plan goes down, a result comes up.

`gc=False`: there are many, and none can be part of a circle.
"""

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


class Seat(Struct, frozen=True, kw_only=True, array_like=True):
    """A sequence takes a row. Sent once; afterwards the row number is enough."""

    row: int
    tokens: bytes  # all tokens known so far, packed: prompt, then output
    prompt_len: int  # where the output begins
    pages: tuple[int, ...]  # pages of the prefix that was found
    sampling: SamplingParams
    logprobs: LogprobSpec | None = None
    stop_ids: tuple[int, ...] = ()  # every id that ends it; not drawn before min_new_tokens are out


class RowPlan(Struct, frozen=True, array_like=True, gc=False):
    """Compute positions [start, start + count) of a row."""

    row: int
    start: int
    count: int
    pages: tuple[int, ...]  # pages appended to the row's table by this step
    samples: bool  # the last position yields the token at start + count
    score_from: int = -1  # first position p of this span whose successor p + 1 is a prompt token to score; -1: none
    given: bytes = b""  # packed tokens from `start` on, in place of what was drawn; may reach beyond this span


class StepPlan(Struct, frozen=True, kw_only=True, array_like=True):
    """One forward pass. Rows are computed in this order on every rank; a row stands at most once."""

    step: int
    seats: tuple[Seat, ...] = ()
    rows: tuple[RowPlan, ...] = ()
    is_masked: bool = False  # masks follow, made while the forward pass runs

    @property
    def tokens(self) -> int:
        return sum(row.count for row in self.rows)


class RowResult(Struct, frozen=True, array_like=True, gc=False):
    """What a row yielded. A fault fails its row alone."""

    row: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()  # one per token, when asked for
    prompt_logprobs: tuple[Logprob, ...] = ()  # successors of positions score_from .. start + count - 1, prompt only
    fault: str | None = None


class StepResult(Struct, frozen=True, kw_only=True, array_like=True):
    """The answer to the plan with the same number; rows in the plan's order, all of them."""

    step: int
    rows: tuple[RowResult, ...]
    seconds: float = 0.0
    tokens: int = 0  # that the model was run on
