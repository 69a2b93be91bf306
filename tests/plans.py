"""Plans and results row by row, for tests to write and to read; what travels are their columns (core/types/step.py)."""

from collections.abc import Iterable

from msgspec import Struct

from stemma.core.types.output import Logprob
from stemma.core.types.step import NO_TOKEN, Findings, News, Seat, StepPlan, StepResult, pack_spans, unpack_spans
from stemma.core.types.tokens import pack, unpack


class RowPlan(Struct, frozen=True):
    """A span, and what is told beside it."""

    row: int
    start: int
    count: int
    pages: tuple[int, ...]
    samples: bool
    score_from: int = -1
    given: bytes = b""


class RowResult(Struct, frozen=True):
    """What a row yielded."""

    row: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    prompt_logprobs: tuple[Logprob, ...] = ()
    fault: str | None = None


def plan_of(step: int, rows: Iterable[RowPlan], seats: tuple[Seat, ...] = (), is_masked: bool = False) -> StepPlan:
    rows = list(rows)
    spans = pack_spans(word for row in rows for word in (row.row, row.start, row.count, row.samples))
    told = {row.row: News(row.pages, row.given, row.score_from) for row in rows}
    news = {row: one for row, one in told.items() if one != News()}
    return StepPlan(step=step, seats=seats, spans=spans, news=news, is_masked=is_masked)


def rows_of(plan: StepPlan) -> list[RowPlan]:
    rows = []
    for row, start, count, draws in unpack_spans(plan.spans):
        news = plan.news.get(row, News())
        rows.append(RowPlan(row, start, count, news.pages, bool(draws), news.score_from, news.given))
    assert set(plan.news) <= {row.row for row in rows}
    return rows


def tokens_of(plan: StepPlan) -> int:
    """How many positions it computes."""
    return sum(row.count for row in rows_of(plan))


def result_of(step: int, rows: Iterable[RowResult], seconds: float = 0.0) -> StepResult:
    rows = list(rows)
    tokens = pack(row.tokens[0] if row.tokens else NO_TOKEN for row in rows)
    found = {row.row: Findings(row.logprobs, row.prompt_logprobs, row.fault) for row in rows}
    findings = {row: one for row, one in found.items() if one != Findings()}
    return StepResult(step=step, tokens=tokens, findings=findings, seconds=seconds)


def results_of(plan: StepPlan, result: StepResult) -> tuple[RowResult, ...]:
    rows, tokens = rows_of(plan), unpack(result.tokens)
    assert len(rows) == len(tokens) and set(result.findings) <= {row.row for row in rows}
    found = []
    for row, token in zip(rows, tokens, strict=True):
        own = result.findings.get(row.row, Findings())
        drawn = () if token == NO_TOKEN else (token,)
        found.append(RowResult(row.row, drawn, own.logprobs, own.prompt_logprobs, own.fault))
    return tuple(found)
