import pytest

from stemma.control.scheduler.gate import Gate
from stemma.core.base.errors import BadRequest, TooLong
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.tokens import pack
from tests.scheduler_harness import request

GATE = Gate(context=20, vocab_size=100, max_total_tokens=16, stop_ids=(2, 3))


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        (request("a", []), "tokens", "empty"),
        (request("a", [1, 100]), "tokens", "100 is not within the vocabulary of 100"),
        (request("a", [1, -1]), "tokens", "-1"),
        (request("a", [1], output=[200]), "output", "200"),
        (request("a", [1], stop_token_ids=(300,)), "sampling.stop_token_ids", "300"),
        (Request(id="a", tokens=b"123", sampling=SamplingParams()), "tokens", "3 bytes"),
        (
            Request(id="a", tokens=pack([1]), sampling=SamplingParams(logit_bias={400: 1.0})),
            "sampling.logit_bias",
            "400",
        ),
        (
            Request(id="a", tokens=pack([1]), sampling=SamplingParams(), logprobs=LogprobSpec(token_ids=(500,))),
            "logprobs.token_ids",
            "500",
        ),
    ],
)
def test_what_is_wrong_is_named(asked: Request, field: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        GATE.enter(asked, 0, 0)
    assert caught.value.field == field
    assert caught.value.status == 400


def test_a_prompt_must_leave_room_for_an_answer() -> None:
    gate = Gate(context=20, vocab_size=100, max_total_tokens=1000, stop_ids=())
    assert gate.enter(request("a", [1] * 19, None), 0, 0).limit == 20
    assert gate.enter(request("a", [1] * 20, 0), 0, 0).limit == 20
    for length, most in ((20, 1), (20, None), (21, 0)):
        with pytest.raises(TooLong, match="at most 19 tokens"):
            gate.enter(request("a", [1] * length, most), 0, 0)


def test_the_output_ends_with_the_context() -> None:
    assert Gate(20, 100, 1000, ()).enter(request("a", [1] * 15, 500), 0, 0).limit == 20


def test_what_exceeds_all_pages_is_refused() -> None:
    # The last token's KV is never needed: 12 + 5 tokens fit into 16 slots.
    assert GATE.enter(request("a", [1] * 12, 5), 0, 0).end == 16
    with pytest.raises(TooLong, match="12 prompt and 6 output tokens need more than the 16 tokens"):
        GATE.enter(request("a", [1] * 12, 6), 0, 0)
    with pytest.raises(TooLong):
        GATE.enter(request("a", [1] * 12, None), 0, 0)


def test_stop_ids_are_the_models_and_the_requests() -> None:
    assert GATE.enter(request("a", [1], stop_token_ids=(7, 2)), 0, 0).stop_ids == (2, 3, 7)
    assert GATE.enter(request("a", [1], stop_token_ids=(7, 2), ignore_eos=True), 0, 0).stop_ids == ()
