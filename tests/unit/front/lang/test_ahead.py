"""One request answers several generations, and nothing is said that the model would not have said."""

from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang.errors import Misuse, ProgramError
from tests.unit.front.lang.fakes import FakeBackend

CARD = "Name: Ada\nBorn: 1815\nJob: mathematician\nEnd"


class Chat(FakeBackend):
    answers_turns = True


class Cut(FakeBackend):
    """Says at most ten letters of the card at a time."""

    def generate(self, transcript: Any, sampling: Any) -> Any:
        text, _ = super().generate(transcript, sampling)
        return text[:10], {"finish_reason": "length"}


def goes_on(text: str) -> str:
    """What is left of the card behind as much of it as the text ends with."""
    at = max(at for at in range(len(CARD) + 1) if text.endswith(CARD[:at]))
    return CARD[at:]


@sgl.function(num_api_spec_tokens=64)
def card(s: Any, second: str = "\nBorn:") -> None:
    s += sgl.user("Fill in a card.")
    s += sgl.assistant(
        "Name:" + sgl.gen("name", stop="\n") + second + sgl.gen("born", stop=["\n", ";"], max_tokens=100)
    )


@pytest.mark.parametrize("kind", [FakeBackend, Chat])
def test_one_request_answers_two_generations(kind: Any) -> None:
    backend = kind(goes_on)
    state = card.run(backend=backend, temperature=0)
    assert (state["name"], state["born"]) == (" Ada", " 1815")
    assert (
        state.text().endswith("Name: Ada\nBorn: 1815\n") and state.messages()[-1]["content"] == "Name: Ada\nBorn: 1815"
    )
    ((asked, sampling),) = backend.asked
    assert asked.endswith("ASSISTANT:" if kind is Chat else "ASSISTANT:Name:")
    assert (sampling.max_new_tokens, sampling.stop) == (128, ()) and sampling.temperature == 0


def test_where_the_program_says_otherwise_the_model_is_asked_anew() -> None:
    backend = FakeBackend(goes_on)
    state = card.run("\nJob:", backend=backend)
    assert (state["name"], state["born"], len(backend.asked)) == (" Ada", "Name: Ada", 2)
    with pytest.raises(ProgramError, match=r"test_ahead.py:\d+: BackendError: the model's turn is .*Ada"):
        card.run("\nJob:", backend=Chat(goes_on))["born"]


def test_a_turn_that_begins_otherwise_is_asked_for_thrice() -> None:
    backend = Chat(lambda text: "Sure! Here is a card.")
    with pytest.raises(ProgramError, match="3 turns of the model did not begin"):
        card.run(backend=backend)["name"]
    assert len(backend.asked) == 3


def test_what_was_cut_off_is_not_taken_for_an_end() -> None:
    backend = Cut(goes_on)
    state = card.run(backend=backend)
    assert (state["name"], state["born"], len(backend.asked)) == (" Ada", " 1815", 2)


def test_branches_ask_for_themselves_and_what_does_not_go_with_it_is_refused() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def forks(s: Any, n: int) -> None:
        s += "Name:"
        branches = s.fork(2)
        branches += sgl.gen("x", stop="\n", n=n)
        branches.join()
        s += sgl.gen("many", n=2)

    backend = FakeBackend(goes_on)
    state = forks.run(1, backend=backend)
    assert state["x"] == [goes_on("Name:")] * 2 and [sampling.stop for _, sampling in backend.asked] == ["\n"] * 2
    with pytest.raises(ProgramError, match="n=2"):
        state["many"]
    with pytest.raises(Misuse, match="cannot be streamed"):
        card.run(backend=backend, stream=True)


def test_an_asynchronous_program_does_not_ask_ahead() -> None:
    async def program(s: Any) -> None:
        await s.gen("x")

    with pytest.raises(Misuse, match="no `async def`"):
        sgl.function(num_api_spec_tokens=64)(program)
