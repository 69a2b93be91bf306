"""A device without tensors: the next token is a function of the prefix, and the KV of a position is a
fingerprint of the tokens up to it.

Every computed position looks up the fingerprints of all positions before it through its row's page
table. A page that two sequences share wrongly, that was given away while in use, or that was never
written is found at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stemma.core.types.output import Logprob
from stemma.core.types.step import NO_PAGE, Masks, Seat, StepPlan, StepResult
from stemma.core.types.tokens import unpack
from tests.plans import RowPlan, RowResult, result_of, rows_of, tokens_of

MASK = (1 << 61) - 1
NO_MASKS = Masks()


def fold(fingerprint: int, token: int) -> int:
    """The fingerprint of a prefix that is one token longer. The empty prefix has 0."""
    return ((fingerprint ^ (token + 1)) * 0x9E3779B97F4A7C15 + 0x7F4A7C15) & MASK


def fingerprint_of(tokens: Iterable[int]) -> int:
    fingerprint = 0
    for token in tokens:
        fingerprint = fold(fingerprint, token)
    return fingerprint


def next_token(fingerprint: int, vocab_size: int, banned: tuple[int, ...] = (), mask: bytes | None = None) -> int:
    token = (fingerprint >> 20) % vocab_size
    while token in banned or (mask is not None and not mask[token // 8] >> token % 8 & 1):
        token = (token + 1) % vocab_size
    return token


def logprob(fingerprint: int, token: int) -> Logprob:
    """What the model says of `token` after the prefix with this fingerprint."""
    return Logprob(token, -(fold(fingerprint, token) % 1000) / 100)


@dataclass(slots=True)
class Row:
    """A seated sequence, as the device remembers it."""

    seat: Seat
    tokens: list[int]
    pages: list[int]
    fingerprints: list[int] = field(default_factory=list)  # of the prefixes that end at each position
    fault: str | None = None


class FakeDevice:
    """Computes a StepPlan at once, and asserts that it may.

    `fault` is asked for each row of each step: what it answers is the row's fault, until it is seated anew.
    `seconds` says how long a step is said to have taken.
    """

    def __init__(
        self,
        pages: int,
        page_size: int,
        vocab_size: int,
        rows: int,
        step_tokens: int,
        fault: Callable[[RowPlan, Seat], str | None] = lambda row, seat: None,
        seconds: Callable[[StepPlan], float] = lambda plan: 0.0,
    ):
        self.page_size = page_size
        self.vocab_size = vocab_size
        self.step_tokens = step_tokens
        self.fault = fault
        self.seconds = seconds
        self.kv: list[int | None] = [None] * (pages * page_size)
        self.rows: list[Row | None] = [None] * rows
        self.steps = 0
        self.tokens = 0  # computed positions

    def launch(self, plan: StepPlan, masks: Masks = NO_MASKS) -> StepResult:
        assert plan.is_masked or not masks.rows
        allowed = masks.by_row()
        assert plan.step == self.steps, f"step {plan.step} came after {self.steps} steps"
        self.steps += 1
        rows = rows_of(plan)
        assert rows and tokens_of(plan) <= self.step_tokens
        assert len({row.row for row in rows}) == len(rows), "a row stands twice in a step"
        for seat in plan.seats:
            if seat.copy_from != NO_PAGE:
                self._copy_page(seat.copy_from, seat.pages[-1])
        for seat in plan.seats:
            self.rows[seat.row] = Row(seat, list(unpack(seat.tokens)), list(seat.pages))
        results = [self._compute(row, allowed.get(row.row)) for row in rows]
        return result_of(plan.step, results, self.seconds(plan))

    def _compute(self, plan: RowPlan, mask: bytes | None) -> RowResult:
        row = self.rows[plan.row]
        assert row is not None, f"row {plan.row} was never seated"
        if row.fault is not None:  # whoever planned this did not know yet
            return RowResult(plan.row, fault=row.fault)
        row.pages += plan.pages
        if plan.given:
            row.tokens[plan.start :] = unpack(plan.given)
            del row.fingerprints[plan.start :]
        end = plan.start + plan.count
        assert plan.count >= 1 and end <= len(row.tokens), f"{end} positions of {len(row.tokens)} known tokens"
        assert end <= len(row.pages) * self.page_size, "computed past its pages"
        assert len(row.pages) == -(-end // self.page_size), "has a page too many"
        assert len(set(row.pages)) == len(row.pages), "has a page twice"
        self.tokens += plan.count
        self._read_prefix(row, plan.start)
        prompt_logprobs = []
        for position in range(plan.start, end):
            self.kv[self._slot(row, position)] = row.fingerprints[position]
            if 0 <= plan.score_from <= position < row.seat.prompt_len - 1:
                prompt_logprobs.append(logprob(row.fingerprints[position], row.tokens[position + 1]))
        row.fault = self.fault(plan, row.seat)
        if row.fault is not None:
            return RowResult(plan.row, fault=row.fault)
        if not plan.samples:
            return RowResult(plan.row, prompt_logprobs=tuple(prompt_logprobs))
        assert end == len(row.tokens), "a token can only follow the last one"
        is_short = len(row.tokens) - row.seat.prompt_len < row.seat.sampling.min_new_tokens
        fingerprint = row.fingerprints[-1]
        token = next_token(fingerprint, self.vocab_size, row.seat.stop_ids if is_short else (), mask)
        row.tokens.append(token)
        logprobs = (logprob(fingerprint, token),) if row.seat.logprobs is not None else ()
        return RowResult(plan.row, (token,), logprobs, tuple(prompt_logprobs))

    def _copy_page(self, source: int, target: int) -> None:
        size = self.page_size
        self.kv[target * size : (target + 1) * size] = self.kv[source * size : (source + 1) * size]

    def _read_prefix(self, row: Row, length: int) -> None:
        """Look up all positions below `length` as attention would."""
        for token in row.tokens[len(row.fingerprints) :]:
            row.fingerprints.append(fold(row.fingerprints[-1] if row.fingerprints else 0, token))
        size = self.page_size
        for place, page in enumerate(row.pages[: -(-length // size)]):
            expected = row.fingerprints[place * size : min(length, (place + 1) * size)]
            found = self.kv[page * size : page * size + len(expected)]
            assert found == expected, f"row {row.seat.row} finds the KV of another prefix in page {page}"

    def _slot(self, row: Row, position: int) -> int:
        return row.pages[position // self.page_size] * self.page_size + position % self.page_size
