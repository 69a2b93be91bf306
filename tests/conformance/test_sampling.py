"""Native draws and log-probabilities against plain torch: the same token, for any wish, in any company."""

import math
from random import Random

import pytest
import torch
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.device.ops.cpu.library import load
from stemma.device.ops.cpu.sampling import Drawn, Scores, sample, score
from stemma.device.ops.reference.sample import leaders
from tests.bodies import NATIVE, Body
from tests.conformance.asks import Told, Wish, random_wish

VOCABULARIES = {5: 600, 100: 600, 2048: 300, 32_001: 40, 151_936: 16}  # and how many wishes
GREEDY = SamplingParams(temperature=0.0)

every_body = pytest.mark.parametrize("body", NATIVE, ids=str)


def random_logits(random: Random, vocab: int) -> Tensor:
    """Flat, peaked, steep, or with many equals."""
    generator = torch.Generator().manual_seed(random.randrange(2**32))
    logits_V = torch.randn(vocab, generator=generator) * random.choice([0.0, 0.1, 1.0, 4.0, 30.0])
    if random.random() < 0.3:
        logits_V[random.randrange(vocab)] += 12
    return logits_V.round() if random.random() < 0.3 else logits_V


def native(body: Body, logits_SV: Tensor, wishes: list[Wish]) -> tuple[Drawn, Scores, Tensor]:
    """What is drawn and scored, and what became of the logits."""
    told, logits_SV = Told.of(wishes, logits_SV.shape[1]), logits_SV.clone()
    drawn = sample(load(body.kernels), logits_SV, told.asks)
    return drawn, score(load(body.kernels), logits_SV, drawn.tokens_S, told.wants), logits_SV


@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_tokens_and_logprobs_are_those_of_the_reference(vocab: int) -> None:
    random = Random(vocab)
    wishes = [random_wish(random, vocab) for _ in range(VOCABULARIES[vocab])]
    logits_SV = torch.stack([random_logits(random, vocab) for _ in wishes])
    expected = [wish.processed(row_V) for wish, row_V in zip(wishes, logits_SV, strict=True)]
    tokens = [wish.token(row_V) for wish, row_V in zip(wishes, expected, strict=True)]
    for body in NATIVE:
        drawn, scores, tempered_SV = native(body, logits_SV, wishes)
        assert drawn.finite_S.all()
        assert drawn.tokens_S.tolist() == tokens
        wanted = 0
        for at, wish in enumerate(wishes):
            if wish.spec is None:
                continue
            tempered_V = wish.tempered(expected[at])
            torch.testing.assert_close(tempered_SV[at], tempered_V, rtol=0, atol=0)
            logprobs_V, top = tempered_V.double().log_softmax(-1), min(wish.spec.top, vocab)
            near(scores.logprobs_W[wanted], logprobs_V[tokens[at]])
            near(scores.chosen_WC[wanted], logprobs_V[list(wish.spec.token_ids)])
            near(scores.top_WK[wanted, :top], logprobs_V[leaders(logprobs_V, top)])
            near(scores.top_WK[wanted, :top], logprobs_V[scores.top_ids_WK[wanted, :top].long()])
            assert len(set(scores.top_ids_WK[wanted, :top].tolist())) == top
            wanted += 1


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("vocab", [1, 5, 517, 40_001, 151_936])
def test_place_company_threads_and_instructions_never_show(vocab: int) -> None:
    random = Random(vocab)
    spec = LogprobSpec(top=4, token_ids=(0,))
    wishes = [random_wish(random, vocab) for _ in range(7)]
    wishes = [Wish(w.sampling, w.seed, w.tokens, w.prompt_len, w.stop_ids, w.allowed_V, spec) for w in wishes]
    logits_SV = torch.stack([random_logits(random, vocab) for _ in wishes])
    expected = None
    for body in NATIVE:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            order = random.sample(range(7), 7)
            together = bits(native(body, logits_SV[order], [wishes[at] for at in order]))
            alone = [bits(native(body, logits_SV[at : at + 1], [wishes[at]]))[0] for at in range(7)]
            expected = expected or alone
            assert alone == expected
            assert together == [expected[at] for at in order]


def bits(found: tuple[Drawn, Scores, Tensor]) -> list[tuple[bytes, ...]]:
    drawn, scores, logits_SV = found
    return [tuple(part.numpy().tobytes() for part in row) for row in zip(*drawn, *scores, logits_SV, strict=True)]


@every_body
def test_a_nucleus_of_any_size(body: Body) -> None:
    """Of logits that fall slowly, whose nuclei have any number of tokens, also more than are looked at first."""
    random = Random(1)
    for vocab in (40, 3000, 20_000):
        falling_V = -torch.arange(vocab) * 8 / vocab
        for top_p in (1e-6, 0.02, 0.5, 0.9, 0.999):
            wish = Wish(SamplingParams(top_p=top_p), random.randrange(1000))
            for logits_V in (falling_V, falling_V.flip(0), falling_V[torch.randperm(vocab)]):
                drawn, _, _ = native(body, logits_V[None], [wish])
                assert drawn.tokens_S.item() == wish.token(logits_V)


@every_body
@pytest.mark.parametrize("vocab", [17, 517, 4099])
def test_a_draw_of_all_weighs_whoever_may_win(body: Body, vocab: int) -> None:
    """Among tokens of every weight that a float has, and of one weight."""
    order_V = torch.randperm(vocab, generator=torch.Generator().manual_seed(vocab))
    for logits_V in (torch.linspace(0, -100, vocab)[order_V], torch.zeros(vocab)):
        for sampling in (SamplingParams(temperature=t, min_p=m) for t in (0.3, 1.0, 7.7) for m in (0.0, 0.01)):
            wishes = [Wish(sampling, seed) for seed in range(40)]
            drawn, _, _ = native(body, logits_V.repeat(40, 1), wishes)
            assert drawn.tokens_S.tolist() == [wish.token(wish.processed(logits_V)) for wish in wishes]


@every_body
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found_and_hurts_nobody(body: Body, threads: int, value: float) -> None:
    torch.set_num_threads(threads)
    spec, random = LogprobSpec(top=3), Random(0)
    for vocab in (1, 7, 517, 40_001):
        wishes = [Wish(SamplingParams(top_p=0.9), spec=spec), random_wish(random, vocab), Wish(GREEDY, spec=spec)]
        logits_SV = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
        whole, _, _ = native(body, logits_SV, wishes)
        for at in {0, 3 % vocab, vocab // 2, vocab - 1}:
            logits_SV[1] = torch.randn(vocab)
            logits_SV[1, at] = value
            drawn, _, _ = native(body, logits_SV, wishes)
            assert drawn.finite_S.tolist() == [True, False, True]
            assert drawn.tokens_S.tolist() == [whole.tokens_S[0], 0, whole.tokens_S[2]]


@every_body
def test_a_row_without_any_token_left_is_told(body: Body) -> None:
    nobody = Wish(GREEDY, allowed_V=torch.zeros(70, dtype=torch.bool))
    drawn, _, _ = native(body, torch.zeros(2, 70), [nobody, Wish(GREEDY)])
    assert drawn.finite_S.tolist() == [False, True]
    assert drawn.tokens_S.tolist() == [0, 0]


@every_body
@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams(top_k=1), SamplingParams(top_p=1e-6)])
def test_ties_go_to_the_lowest_id(body: Body, sampling: SamplingParams) -> None:
    logits_SV = torch.zeros(1, 9000)
    logits_SV[:, [8999, 17, 4100]] = 5.0
    drawn, scores, _ = native(body, logits_SV, [Wish(sampling, spec=LogprobSpec(top=5))])
    assert drawn.tokens_S.tolist() == [17]
    assert scores.top_ids_WK.tolist() == [[17, 4100, 8999, 0, 1]]


@every_body
def test_a_wide_range_of_logits_does_not_overflow(body: Body) -> None:
    wish = Wish(SamplingParams(temperature=1e-6), spec=LogprobSpec())
    drawn, scores, _ = native(body, torch.tensor([[3e38, -3e38, 0.0]]), [wish])
    assert drawn.tokens_S.tolist() == [0]
    assert scores.logprobs_W.tolist() == [0.0]


@every_body
def test_where_heat_makes_all_equal_the_lowest_ids_are_kept(body: Body) -> None:
    """Logits differ, their weights do not: the order goes by weights, so the largest logit need not be among them."""
    rising_V = torch.arange(5000) * 1e-7
    for seed in range(20):
        for sampling in (SamplingParams(temperature=1e6, top_p=0.01), SamplingParams(temperature=1e6, top_k=50)):
            drawn, _, _ = native(body, rising_V[None], [Wish(sampling, seed)])
            assert drawn.tokens_S.item() == Wish(sampling, seed).token(torch.zeros(5000)) < 51


@every_body
def test_draws_follow_the_truncated_softmax(body: Body) -> None:
    logits_SV = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().repeat(4000, 1)
    drawn, _, _ = native(body, logits_SV, [Wish(SamplingParams(top_k=3), seed) for seed in range(4000)])
    found, expected = drawn.tokens_S.bincount(minlength=4), torch.tensor([4, 3, 2]) / 9 * 4000
    assert found[3] == 0
    assert ((found[:3] - expected) ** 2 / expected).sum() < 18.4  # chi-square, 2 degrees of freedom, 1 in 10,000
