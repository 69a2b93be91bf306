"""What one step may spend, and what a request is expected to need."""

from dataclasses import dataclass, field

from stemma.control.scheduler.sequence import Sequence
from stemma.control.scheduler.steady import Steady
from stemma.core.base.numbers import ceil_div
from stemma.core.types.step import News, Seat, Span, StepPlan, pack_spans, unpack_span

MOST_EXPECTED = 4096  # output tokens beyond these are not expected of anyone
INITIAL_RATIO = 0.7
LEAST_SHARE = 0.14  # of the initial ratio
DECAY_STEPS = 600
SPARE_TOKENS = 20  # per sequence, after a preemption


@dataclass(slots=True, eq=False)
class Draft:
    """A step being planned: what it may still spend, and what it holds. Made anew for each step."""

    tokens: int
    seats: list[Seat] = field(default_factory=list)
    spans: bytes = b""  # packed
    news: dict[int, News] = field(default_factory=dict)
    sequences: list[Sequence] = field(default_factory=list)  # of the spans
    computed: int = 0  # tokens that it spends
    decodes: int = 0  # the first spans: their sequences lacked nothing but this one position
    is_masked: bool = False  # whether a row samples under a grammar

    def decode(self, steady: Steady, any_bound: bool) -> None:
        """One position each, of those who decode."""
        self.sequences, self.spans = steady.sequences.copy(), steady.advance()
        self.computed = len(self.sequences)
        self.tokens -= self.computed
        self.is_masked = any_bound and any(sequence.constraint is not None for sequence in self.sequences)

    def add(self, sequence: Sequence, count: int, pages: tuple[int, ...]) -> None:
        """Its next `count` positions, for which it got `pages`."""
        self.tokens -= count
        self.computed += count
        self.sequences.append(sequence)
        start = sequence.planned
        draws, news = sequence.advance(count, pages)
        self.spans += pack_spans((sequence.row, start, count, draws))
        if news is not None:
            self.news[sequence.row] = news
        self.is_masked |= bool(draws) and sequence.constraint is not None

    def span(self, at: int) -> Span:
        return unpack_span(self.spans, at)

    @property
    def draws(self) -> memoryview:
        """Of each span."""
        return memoryview(self.spans).cast("q")[3::4]

    @property
    def chunk_tokens(self) -> int:
        """What it computes beside its decodes."""
        return self.computed - self.decodes

    @property
    def is_mixed(self) -> bool:
        return 0 < self.decodes < len(self.sequences)

    def close(self, step: int) -> StepPlan | None:
        """None when nobody computes."""
        if not self.sequences:
            return None
        seats, spans, news = tuple(self.seats), self.spans, self.news
        return StepPlan(step=step, seats=seats, spans=spans, news=news, is_masked=self.is_masked)


class TokenRatio:
    """The share of its allowed output that a request is expected to produce. Owned by the Scheduler.

    Falls while all goes well, so that more are admitted; a preemption raises it again.
    """

    def __init__(self, conservativeness: float, page_size: int):
        self.initial = min(1.0, INITIAL_RATIO * conservativeness)
        self.least = self.initial * LEAST_SHARE
        self.page_size = page_size
        self.value = self.initial

    def reset(self) -> None:
        self.value = self.initial

    def decay(self) -> None:
        self.value = max(self.least, self.value - (self.initial - self.least) / DECAY_STEPS)

    def learn(self, remaining: list[Sequence]) -> None:
        """After a preemption: what those who stay have needed so far, and a bit, is expected of all."""
        produced = sum(sequence.output_len + SPARE_TOKENS for sequence in remaining)
        allowed = sum(sequence.limit - sequence.prompt_len for sequence in remaining)
        self.value = min(1.0, max(self.value, produced / (allowed + 1)))

    def expected_pages(self, sequence: Sequence) -> int:
        """Of its whole life. In full for whom the guess failed twice, and who will not stop by itself."""
        known = len(sequence.tokens)
        more = sequence.end - known
        if sequence.retractions < 2 and not sequence.request.sampling.ignore_eos:
            more = int(self.value * min(more, MOST_EXPECTED)) + 1
        return ceil_div(min(known + more, sequence.end), self.page_size)
