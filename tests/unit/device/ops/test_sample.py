"""The draw against a brute-force one in Python's own numbers, and its noise against what noise must be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.device.ops.reference.sample import draw, exponentials, leaders, minus_log, support, words
from tests.unit.device.worker.oracle import brute_noise, brute_support

ODD_WIDTHS = [1, 80, 517, 40_001]  # the last is long enough for torch to use several threads


def softmax(width: int, seed: int, scale: float = 3.0) -> torch.Tensor:
    return (torch.randn(width, generator=torch.Generator().manual_seed(seed)) * scale).softmax(-1)


def test_words_are_those_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [word % 2**64 for word in words(torch.tensor(1234567), torch.arange(4)).tolist()] == published


@given(seed=st.integers(-(2**63), 2**63 - 1), position=st.integers(0, 2**31), id=st.integers(0, 2**20))
def test_noise_is_that_of_the_brute_force(seed: int, position: int, id: int) -> None:
    noise = exponentials(seed, position, torch.tensor([id])).item()
    assert noise == pytest.approx(brute_noise(seed, position, id), rel=1e-9)
    assert noise > 0


def test_noise_of_a_token_does_not_depend_on_its_place() -> None:
    whole = exponentials(7, 11, torch.arange(5000))
    for ids in (torch.tensor([4999]), torch.arange(5000).flip(0), torch.arange(13, 4000, 7)):
        assert torch.equal(exponentials(7, 11, ids), whole[ids])


def test_minus_log() -> None:
    edges = torch.tensor([2.0**-53, 1 - 2.0**-53, 0.5, math.sqrt(0.5), 0.70710678, 1 - 2.0**-30], dtype=torch.float64)
    plain = torch.rand(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = torch.cat([edges, plain.clamp(min=2.0**-53)])
    assert ((minus_log(u) + u.log()).abs() <= 1e-9 * -u.log()).all()


def test_noise_is_uniform() -> None:
    u = torch.cat([exponentials(seed, 100 + seed, torch.arange(50_000)).neg().exp() for seed in range(4)])
    cells = torch.histc(u, bins=100, min=0, max=1)
    expected = len(u) / 100
    assert ((cells - expected) ** 2 / expected).sum() < 176  # chi-square, 99 degrees of freedom, 1 in a million
    assert 0 < u.min() < 5e-5
    assert 1 - 5e-5 < u.max() < 1


def test_noise_is_independent_between_neighbours() -> None:
    ids = torch.arange(40_000)
    base = exponentials(5, 9, ids)
    others = {
        "position": exponentials(5, 10, ids),
        "seed": exponentials(6, 9, ids),
        "far seed": exponentials(5 + 2**32, 9, ids),
        "token": base.roll(1),
        "seed and position": exponentials(4, 10, ids),
    }
    for name, other in others.items():
        covariance = ((base - 1) * (other - 1)).mean().item()  # their variance is 1
        assert abs(covariance) < 5 / math.sqrt(len(ids)), name


@pytest.mark.parametrize("vary", ["position", "seed"])
def test_draws_follow_the_softmax(vary: str) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, 0.5, -3.0, 1.5])
    draws = 6000
    tokens = [draw(logits, *((3, i) if vary == "position" else (i, 3)), -1, 1.0, 0.0).item() for i in range(draws)]
    found = torch.bincount(torch.tensor(tokens), minlength=8)
    expected = logits.softmax(-1) * draws
    assert ((found - expected) ** 2 / expected).sum() < 29.9  # chi-square, 7 degrees of freedom, 1 in 10,000


def test_truncated_draws_follow_the_renormalised_softmax() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    tokens = [draw(logits, 1, i, 3, 1.0, 0.0).item() for i in range(4000)]
    found = torch.bincount(torch.tensor(tokens), minlength=4)
    expected = torch.tensor([4, 3, 2]) / 9 * 4000
    assert found[3] == 0
    assert ((found[:3] - expected) ** 2 / expected).sum() < 18.4  # 2 degrees of freedom, 1 in 10,000


def test_an_improbable_token_is_drawn_as_rarely_as_it_should() -> None:
    """The race is won in the far tail of the noise; coarse noise would never or too often let it win."""
    wins = 0
    ids = torch.arange(1)
    for i in range(3000):
        wins += int(exponentials(i, 0, ids).item() < 0.01 * exponentials(i, 1, ids).item())
    assert 12 < wins < 52  # 3000 x 0.01 / 1.01 = 29.7


@settings(max_examples=300)
@given(
    weights=st.lists(st.integers(0, 8), min_size=1, max_size=40).filter(any),
    top_k=st.integers(1, 45) | st.just(-1),
    top_p=st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_support_is_that_of_the_brute_force(weights: list[int], top_k: int, top_p: float, min_p: float) -> None:
    p = torch.tensor(weights, dtype=torch.float32)
    p /= p.sum()
    assert sorted(support(p, top_k, top_p, min_p).tolist()) == brute_support(p.tolist(), top_k, top_p, min_p)


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])  # nuclei of nearly all, of many and of few
@pytest.mark.parametrize("top_p", [0.3, 0.999])
def test_support_of_a_large_vocabulary(scale: float, top_p: float) -> None:
    p = softmax(9001, seed=1, scale=scale)
    assert sorted(support(p, -1, top_p, 0.0).tolist()) == brute_support(p.tolist(), -1, top_p, 0.0)


def test_edges_of_truncation() -> None:
    p = torch.tensor([0.25, 0.5, 0.125, 0.125])
    assert support(p, -1, 0.5, 0.0).tolist() == [1, 0]  # what lies before 0 is exactly top_p: it stays
    assert support(p, -1, 0.49, 0.0).tolist() == [1]
    assert support(p, -1, 1e-6, 0.0).tolist() == [1]  # the best one always stays
    assert support(p, 3, 1.0, 0.0).tolist() == [1, 0, 2]  # a tie goes to the lower id
    assert support(p, 3, 1.0, 0.25).tolist() == [1, 0, 2]  # exactly min_p of the best: it stays
    assert support(p, -1, 1.0, 0.26).tolist() == [1, 0]
    assert support(p, -1, 1.0, 1.0).tolist() == [1]
    assert support(p, 100, 0.9, 0.0).tolist() == [1, 0, 2, 3]
    assert len(support(torch.full((300,), 1 / 300), -1, 1.0, 0.0)) == 300  # top_p 1 cuts nothing, whatever sums to


def test_leaders_break_ties_by_id() -> None:
    values = torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0, 0.0, 2.0] + [-1.0] * 50)
    for count in range(8):
        assert leaders(values, count).tolist() == [1, 3, 2, 4, 6, 0, 5, 7][:count]


@pytest.mark.parametrize("width", ODD_WIDTHS)
def test_a_draw_depends_on_nothing_else(width: int) -> None:
    logits = torch.randn(3, width, generator=torch.Generator().manual_seed(width)) * 3
    cases = [(-1, 1.0, 0.0), (40, 0.9, 0.0), (-1, 0.95, 0.01)]
    before = torch.get_num_threads()
    drawn = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for place in (lambda row: row, torch.clone, lambda row: torch.cat([torch.zeros(3), row])[3:]):
            drawn.append([draw(place(row), i, 50 + i, *case).item() for i, row in enumerate(logits) for case in cases])
    torch.set_num_threads(before)
    assert all(tokens == drawn[0] for tokens in drawn)
