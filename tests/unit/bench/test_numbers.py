"""The definitions, held to timelines whose numbers were worked out by hand."""

import random
import statistics

import pytest

from stemma.bench.numbers import numbers_of, requests_by_second, spread_of, tokens_by_second
from stemma.bench.timeline import Timeline


def timeline(sent: float, pieces: list[tuple[float, int]], ended: float, wanted: int = 0) -> Timeline:
    """One that is done. A piece is the time at which it came, and its tokens."""
    made = Timeline(input_tokens=10, wanted_tokens=wanted or sum(tokens for _, tokens in pieces), sent=sent)
    total = 0
    for at, tokens in pieces:
        total += tokens
        made.hear(at, "x", total)
    made.hear(ended, "", total)
    made.is_done = True
    return made


def test_one_request() -> None:
    """Sent at 1.0; tokens at 1.5, 1.7 and 1.8, then two at once at 2.2; the last word at 2.3."""
    one = timeline(1.0, [(1.5, 1), (1.7, 1), (1.8, 1), (2.2, 2)], 2.3)
    assert one.ttft == pytest.approx(0.5)
    assert one.latency == pytest.approx(1.3)
    assert one.tpot == pytest.approx((1.3 - 0.5) / 4)
    assert list(one.itls()) == pytest.approx([0.2, 0.1, 0.2, 0.2])


def test_one_token_has_no_time_after_the_first() -> None:
    one = timeline(0.0, [(0.25, 1)], 0.25)
    assert (one.tpot, list(one.itls())) == (None, [])
    assert numbers_of([one]).spreads["tpot"].mean == 0


def test_tokens_without_text_come_with_the_next_text() -> None:
    one = Timeline(1, 3, sent=0.0)
    one.hear(0.1, "", 1)  # half a letter
    one.hear(0.4, "é", 2)
    one.hear(0.6, "", 3)
    one.hear(1.0, "ö", 4)
    assert one.ttft == pytest.approx(0.4)
    assert list(one.itls()) == pytest.approx([0.3, 0.3])


def test_an_answer_without_any_text_counts_as_come_at_its_end() -> None:
    one = Timeline(1, 2, sent=1.0)
    one.hear(1.5, "", 1)
    one.hear(2.0, "", 2)
    assert one.ttft == one.latency == pytest.approx(1.0)


def test_a_run() -> None:
    """Two that overlap: 0.0-2.0 and 1.0-4.0."""
    run = [
        timeline(0.0, [(1.0, 1), (2.0, 3)], 2.0),
        timeline(1.0, [(1.5, 2), (3.25, 2)], 4.0, wanted=6),
        Timeline(10, 5, sent=2.0, error="refused"),
        Timeline(10, 5, sent=3.0, ended=9.0),  # not done when it was stopped
    ]
    numbers = numbers_of(run)
    assert (numbers.completed, numbers.failed, numbers.other_length) == (2, 1, 1)
    assert (numbers.input_tokens, numbers.output_tokens) == (20, 8)
    assert numbers.duration == pytest.approx(4.0)
    assert numbers.concurrency == pytest.approx((2.0 + 3.0) / 4.0)
    assert numbers.per_second(numbers.output_tokens) == pytest.approx(2.0)
    assert numbers.spreads["e2e_latency"].mean == pytest.approx(2500)
    assert numbers.spreads["ttft"].max == pytest.approx(1000)
    assert tokens_by_second(run[:2], 0.0) == {1: 1 + 2, 2: 3, 3: 2}
    assert requests_by_second(run[:2], 0.0) == {0: 1, 1: 2, 2: 2, 3: 1, 4: 1}
    assert (numbers.peak_tokens, numbers.peak_requests) == (3, 2)


def test_nothing_at_all() -> None:
    numbers = numbers_of([])
    assert (numbers.duration, numbers.concurrency, numbers.per_second(7)) == (0, 0, 0)


def percentile(values: list[float], percent: float) -> float:
    """On the line between the two values whose ranks are nearest."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] * (1 - rank + below) + ordered[above] * (rank - below)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_spread(count: int) -> None:
    draw = random.Random(count)
    values = [draw.expovariate(3.0) for _ in range(count)]
    spread = spread_of(values)
    for percent, found in ((50, spread.median), (90, spread.p90), (95, spread.p95), (99, spread.p99)):
        assert found == pytest.approx(1000 * percentile(values, percent))
    assert spread.mean == pytest.approx(1000 * statistics.fmean(values))
    assert spread.std == pytest.approx(1000 * statistics.pstdev(values))
    assert spread.max == 1000 * max(values)
