"""Workloads: how many, how long, and the same for everybody."""

import itertools
from statistics import fmean

import pytest

from stemma.bench.workload import WORKLOADS, Span, Workload, gaps, span_of, usable_ids
from stemma.core.base.errors import ConfigError

IDS = range(300, 8000)


@pytest.mark.parametrize(
    ("name", "requests", "inputs", "outputs"),
    [("latency", 1, 512, 128), ("throughput", 32, 8108, 2460), ("prefix", 32, 32 * 1088, 1024)],
)
def test_sizes(name: str, requests: int, inputs: int, outputs: int) -> None:
    for seed in (200, 201):
        prompts = WORKLOADS[name].prompts(seed, IDS)
        assert len(prompts) == requests
        assert sum(len(prompt.tokens) for prompt in prompts) == inputs
        assert sum(prompt.output_tokens for prompt in prompts) == outputs
        assert all(token in IDS for prompt in prompts for token in prompt.tokens)


def test_a_seed_is_a_workload() -> None:
    mixed = WORKLOADS["throughput"]
    assert mixed.prompts(5, IDS) == mixed.prompts(5, IDS)
    one, other = mixed.prompts(5, IDS), mixed.prompts(6, IDS)
    assert [len(prompt.tokens) for prompt in one] == [len(prompt.tokens) for prompt in other]
    assert all(a.tokens[:16] != b.tokens[:16] for a, b in zip(one, other, strict=True))


def test_what_is_shared_is_a_prefix_and_nothing_else() -> None:
    load = Workload(requests=3, input_tokens=Span(8, 8), output_tokens=Span(1, 1), shared_tokens=20)
    prompts = [prompt.tokens for prompt in load.prompts(1, IDS)]
    assert len({tuple(tokens[:20]) for tokens in prompts}) == 1
    assert len({tuple(tokens[20:]) for tokens in prompts}) == 3
    assert load.dataset == "generated-shared-prefix"


def test_arrivals() -> None:
    assert list(itertools.islice(gaps(float("inf"), 1), 3)) == [0.0] * 3
    waits = list(itertools.islice(gaps(4.0, 1), 4000))
    assert waits == list(itertools.islice(gaps(4.0, 1), 4000))
    assert fmean(waits) == pytest.approx(1 / 4, rel=0.05)
    # Of exponential gaps, e^-1 are longer than their mean.
    assert sum(wait > 1 / 4 for wait in waits) / 4000 == pytest.approx(0.368, abs=0.03)


def test_spans() -> None:
    assert (span_of("128"), span_of("64-512")) == (Span(128, 128), Span(64, 512))
    assert (str(Span(3, 3)), str(Span(3, 4))) == ("3", "3-4")
    for wrong in ("", "x", "5-", "-5", "9-3", "1-2-3"):
        with pytest.raises(ValueError, match="no span of numbers"):
            span_of(wrong)


def test_ids_are_those_of_the_model() -> None:
    assert usable_ids(None, None) == IDS
    assert usable_ids(None, 151_936) == IDS
    assert usable_ids(None, 2048) == range(300, 2048)
    assert usable_ids(None, 264) == range(264)
    assert usable_ids(Span(5, 9), 10) == range(5, 10)
    with pytest.raises(ConfigError, match="token id 9 is not in the model's vocabulary of 9"):
        usable_ids(Span(5, 9), 9)
