import pytest

from stemma.core.base.errors import BadRequest, TooLong
from stemma.core.types.control import EngineReady
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.front.service.prepare import check_id, check_logprobs, check_n, check_prompt, seed_of, settle

READY = EngineReady(context=100, max_total_tokens=400, page_size=16, vocab_size=50)
SMALL = EngineReady(context=100, max_total_tokens=64, page_size=16, vocab_size=50)


@pytest.mark.parametrize(
    ("prompt_len", "output", "message", "field"),
    [
        (90, 20, "90 prompt + 20 output tokens exceed {}; shorten the prompt or ask for at most 10", "max_new_tokens"),
        (100, 1, "100 prompt + 1 output tokens exceed {}; shorten the prompt", "prompt"),
        (101, 0, "101 prompt + 0 output tokens exceed {}; shorten the prompt", "prompt"),
        (100, None, "100 prompt tokens exceed {}; shorten the prompt", "prompt"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_numbers(prompt_len: int, output: int | None, message: str, field: str) -> None:
    with pytest.raises(TooLong) as error:
        settle(SamplingParams(max_new_tokens=output), prompt_len, 0, READY)
    assert str(error.value) == message.format("the context of 100")
    assert (error.value.field, error.value.status) == (field, 400)


def test_a_cache_that_is_smaller_than_the_context_is_the_limit() -> None:
    with pytest.raises(TooLong, match="exceed the whole cache of 64"):
        settle(SamplingParams(max_new_tokens=60), 5, 0, SMALL)
    assert settle(SamplingParams(max_new_tokens=None), 5, 0, SMALL).max_new_tokens == 59


def test_what_was_left_open_is_settled() -> None:
    assert settle(SamplingParams(max_new_tokens=None), 60, 7, READY) == SamplingParams(
        max_new_tokens=40, sampling_seed=7
    )
    given = SamplingParams(max_new_tokens=40, sampling_seed=0, min_new_tokens=40)
    assert settle(given, 60, 7, READY) == given
    assert settle(SamplingParams(max_new_tokens=0), 100, 7, READY).max_new_tokens == 0


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (SamplingParams(stop_token_ids=(3, 50)), "stop_token_ids"),
        (SamplingParams(logit_bias={-1: 1.0}), "logit_bias"),
        (SamplingParams(max_new_tokens=3, min_new_tokens=4), "min_new_tokens"),
        (SamplingParams(max_new_tokens=None, min_new_tokens=98), "min_new_tokens"),
    ],
)
def test_parameters_that_cannot_be_are_named(sampling: SamplingParams, field: str) -> None:
    with pytest.raises(BadRequest) as error:
        settle(sampling, 5, 0, READY)
    assert error.value.field == field


def test_prompts_are_tokens_of_the_vocabulary() -> None:
    check_prompt([0, 49], READY)
    with pytest.raises(BadRequest, match="empty"):
        check_prompt([], READY)
    for token in (-1, 50, 2**31, 10**30):
        with pytest.raises(BadRequest, match=f"token id {token} is outside of the vocabulary of 0 to 49"):
            check_prompt([1, token], READY)


def test_logprobs_begin_in_the_prompt() -> None:
    check_logprobs(LogprobSpec(start=5, token_ids=(49,)), 5, 50)
    with pytest.raises(BadRequest, match="from position 6 on"):
        check_logprobs(LogprobSpec(start=6), 5, 50)
    with pytest.raises(BadRequest, match="token id 50"):
        check_logprobs(LogprobSpec(token_ids=(50,)), 5, 50)


def test_counts_and_ids_are_bounded() -> None:
    for n in (0, -1, 129, 10**9):
        with pytest.raises(BadRequest, match=f"n is {n};"):
            check_n(n)
    for id in ("", "x" * 257):
        with pytest.raises(BadRequest, match=f"{len(id)} characters"):
            check_id(id)


def test_every_continuation_has_a_seed_of_its_own() -> None:
    seeds = [seed_of(seed, index) for seed in (0, 1, -1, 2**63 - 1, -(2**63)) for index in range(128)]
    assert len(set(seeds)) == len(seeds)
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)
    assert seed_of(42, 0) == 42
    assert seed_of(42, 1) == -225867498704701796  # pinned: a seed means the same for ever
