"""Draws and log-probabilities in Triton against plain torch: the same token, for any wish, in any company."""

import math
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.device.ops.cpu.sampling import Drawn, Records, Scores
from stemma.device.ops.reference import sample as reference
from stemma.device.ops.triton.sample import sample
from stemma.device.ops.triton.score import score
from tests.conformance.asks import Told, Wish, random_wish
from tests.conformance.test_sampling import near, random_logits
from tests.triton.kernels import draw_noise

VOCABULARIES = {5: 12, 100: 12, 2048: 8, 5000: 12}  # and how many wishes
GREEDY = SamplingParams(temperature=0.0)


def records(found: Records) -> Tensor:
    return torch.from_numpy(found.view(np.uint8).reshape(len(found), found.itemsize))


def drawn(logits_SV: Tensor, wishes: list[Wish]) -> tuple[Drawn, Scores, Tensor]:
    """What is drawn and scored, and what became of the logits."""
    told, logits_SV = Told.of(wishes, logits_SV.shape[1]), logits_SV.clone()
    found = sample(logits_SV, records(told.asks))
    best, chosen = int(told.wants["top"].max(initial=0)), int(told.wants["num_chosen"].max(initial=0))
    return found, score(logits_SV, found.tokens_S, records(told.wants), best, chosen), logits_SV


def tokens(logits_SV: Tensor, wishes: list[Wish]) -> list[int]:
    found: list[int] = drawn(logits_SV, wishes)[0].tokens_S.tolist()
    return found


def test_noise_has_the_bits_of_the_reference() -> None:
    for seed, position in ((0, 0), (-5, 17), (2**62 + 1, 10**6)):
        found = torch.empty(512, dtype=torch.float64)
        draw_noise(found, seed, position)
        assert torch.equal(found, reference.exponentials(seed, position, torch.arange(512)))


@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_tokens_and_logprobs_are_those_of_the_reference(vocab: int) -> None:
    random = Random(vocab)
    wishes = [random_wish(random, vocab) for _ in range(VOCABULARIES[vocab])]
    logits_SV = torch.stack([random_logits(random, vocab) for _ in wishes])
    expected = [wish.processed(row_V) for wish, row_V in zip(wishes, logits_SV, strict=True)]
    found, scores, tempered_SV = drawn(logits_SV, wishes)
    assert found.finite_S.all()
    assert found.tokens_S.tolist() == [wish.token(row_V) for wish, row_V in zip(wishes, expected, strict=True)]
    wanted = [at for at, wish in enumerate(wishes) if wish.spec is not None]
    assert wanted
    for w, at in enumerate(wanted):
        wish, tempered_V = wishes[at], wishes[at].tempered(expected[at])
        assert wish.spec is not None
        torch.testing.assert_close(tempered_SV[at], tempered_V, rtol=0, atol=0)
        logprobs_V, top = tempered_V.double().log_softmax(-1), min(wish.spec.top, vocab)
        near(scores.logprobs_W[w], logprobs_V[found.tokens_S[at]])
        near(scores.chosen_WC[w], logprobs_V[list(wish.spec.token_ids)])
        near(scores.top_WK[w, :top], logprobs_V[reference.leaders(logprobs_V, top)])
        near(scores.top_WK[w, :top], logprobs_V[scores.top_ids_WK[w, :top].long()])
        assert len(set(scores.top_ids_WK[w, :top].tolist())) == top


def test_place_and_company_never_show() -> None:
    random, vocab = Random(3), 2500
    spec = LogprobSpec(top=4, token_ids=(0,))
    wishes = [random_wish(random, vocab) for _ in range(5)]
    wishes = [Wish(w.sampling, w.seed, w.tokens, w.prompt_len, w.stop_ids, w.allowed_V, spec) for w in wishes]
    logits_SV = torch.stack([random_logits(random, vocab) for _ in wishes])
    alone = [bits(drawn(logits_SV[at : at + 1], [wishes[at]]))[0] for at in range(5)]
    order = [3, 0, 4, 1, 2]
    assert bits(drawn(logits_SV[order], [wishes[at] for at in order])) == [alone[at] for at in order]


def bits(found: tuple[Drawn, Scores, Tensor]) -> list[tuple[bytes, ...]]:
    taken, scores, logits_SV = found
    return [tuple(part.numpy().tobytes() for part in row) for row in zip(*taken, *scores, logits_SV, strict=True)]


def test_a_nucleus_of_any_size() -> None:
    """Of logits that fall slowly, whose nuclei have any number of tokens."""
    random, falling_V = Random(1), -torch.arange(3000) * 8 / 3000
    for logits_V in (falling_V, falling_V.flip(0)):
        wishes = [Wish(SamplingParams(top_p=top_p), random.randrange(1000)) for top_p in (1e-6, 0.02, 0.5, 0.9, 0.999)]
        assert tokens(logits_V.repeat(5, 1), wishes) == [wish.token(logits_V) for wish in wishes]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found_and_hurts_nobody(value: float) -> None:
    for vocab in (1, 7, 2100):
        wishes = [Wish(SamplingParams(top_p=0.9)), Wish(SamplingParams()), Wish(GREEDY)]
        logits_SV = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
        whole = tokens(logits_SV, wishes)
        logits_SV[1, vocab // 2] = value
        found = drawn(logits_SV, wishes)[0]
        assert found.finite_S.tolist() == [True, False, True]
        assert not found.banned_S.any()
        assert found.tokens_S.tolist() == [whole[0], 0, whole[2]]


def test_a_row_without_any_token_left_is_told() -> None:
    nobody = Wish(GREEDY, allowed_V=torch.zeros(70, dtype=torch.bool))
    found = drawn(torch.zeros(2, 70), [nobody, Wish(GREEDY)])[0]
    assert found.finite_S.tolist() == [False, True]
    assert found.banned_S.tolist() == [True, False]
    assert found.tokens_S.tolist() == [0, 0]


@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams(top_k=1), SamplingParams(top_p=1e-6)])
def test_ties_go_to_the_lowest_id(sampling: SamplingParams) -> None:
    logits_SV = torch.zeros(1, 9000)
    logits_SV[:, [8999, 17, 4100]] = 5.0
    found, scores, _ = drawn(logits_SV, [Wish(sampling, spec=LogprobSpec(top=5))])
    assert found.tokens_S.tolist() == [17]
    assert scores.top_ids_WK.tolist() == [[17, 4100, 8999, 0, 1]]


def test_a_wide_range_of_logits_does_not_overflow() -> None:
    wish = Wish(SamplingParams(temperature=1e-6), spec=LogprobSpec())
    found, scores, _ = drawn(torch.tensor([[3e38, -3e38, 0.0]]), [wish])
    assert found.tokens_S.tolist() == [0]
    assert scores.logprobs_W.tolist() == [0.0]


def test_where_heat_makes_all_equal_the_lowest_ids_are_kept() -> None:
    rising_V = torch.arange(5000) * 1e-7
    wishes = [
        Wish(sampling, seed)
        for seed in range(4)
        for sampling in (SamplingParams(temperature=1e6, top_p=0.01), SamplingParams(temperature=1e6, top_k=50))
    ]
    assert tokens(rising_V.repeat(8, 1), wishes) == [wish.token(torch.zeros(5000)) for wish in wishes]
