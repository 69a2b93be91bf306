"""From timelines to numbers: latencies, throughputs, concurrency. The definitions are those of SGLang's benchmark."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from stemma.bench.timeline import Timeline


class Spread(Struct, frozen=True, kw_only=True):
    """How a quantity is distributed, in milliseconds."""

    mean: float = 0.0
    median: float = 0.0
    std: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


def spread_of(seconds: Sequence[float]) -> Spread:
    """Percentiles lie on straight lines between the two nearest values."""
    values = 1000 * np.array(seconds)
    if not len(values):
        return Spread()
    median, p90, p95, p99, largest = map(float, np.percentile(values, (50, 90, 95, 99, 100)))
    mean, std = float(values.mean()), float(values.std())
    return Spread(mean=mean, median=median, std=std, p90=p90, p95=p95, p99=p99, max=largest)


class Numbers(Struct, frozen=True, kw_only=True):
    """What a run came to. Requests that failed, or were not done when it was stopped, count only as such."""

    duration: float  # seconds from the first request sent to the last answered
    completed: int
    failed: int
    other_length: int  # answers that do not have as many tokens as were asked for
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    concurrency: float  # requests under way at one moment, on average
    peak_tokens: int  # most output tokens in one second
    peak_requests: int  # most requests under way in one second
    spreads: dict[str, Spread]  # of each kind of latency

    def per_second(self, count: int) -> float:
        return count / self.duration if self.duration else 0.0


def numbers_of(timelines: Sequence[Timeline]) -> Numbers:
    done = [timeline for timeline in timelines if timeline.is_done]
    began = min((each.sent for each in done), default=0.0)
    duration = max((each.ended for each in done), default=0.0) - began
    return Numbers(
        duration=duration,
        completed=len(done),
        failed=sum(each.error is not None for each in timelines),
        other_length=sum(each.output_tokens != each.wanted_tokens for each in done),
        input_tokens=sum(each.input_tokens for each in done),
        cached_tokens=sum(each.cached_tokens for each in done),
        output_tokens=sum(each.output_tokens for each in done),
        concurrency=sum(each.latency for each in done) / duration if duration else 0.0,
        peak_tokens=max(tokens_by_second(done, began).values(), default=0),
        peak_requests=max(requests_by_second(done, began).values(), default=0),
        spreads={name: spread_of(seconds) for name, seconds in latencies(done).items()},
    )


def latencies(timelines: Sequence[Timeline]) -> dict[str, list[float]]:
    """Every latency by its kind, in seconds: one per request, or for `itl` one per token after the first piece."""
    return {
        "e2e_latency": [each.latency for each in timelines],
        "ttft": [each.ttft for each in timelines],
        "tpot": [each.tpot for each in timelines if each.tpot is not None],
        "itl": [itl for each in timelines for itl in each.itls()],
    }


def tokens_by_second(timelines: Iterable[Timeline], began: float) -> Counter[int]:
    counts: Counter[int] = Counter()
    for timeline in timelines:
        before = 0
        for at, tokens in timeline.pieces:
            counts[int(at - began)] += tokens - before
            before = tokens
    return counts


def requests_by_second(timelines: Iterable[Timeline], began: float) -> Counter[int]:
    """A request counts in every second that it touches."""
    return Counter(
        second for each in timelines for second in range(int(each.sent - began), int(each.ended - began) + 1)
    )
