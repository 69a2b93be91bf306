"""Thoughts are told apart from answers: for who reads, and for the model that goes on."""

import time
from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang import executor
from tests.unit.front.lang.fakes import FakeBackend


def test_reasoning_is_kept_apart() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += sgl.user("Why?")
        s += sgl.assistant(sgl.separate_reasoning(sgl.gen("x"), model_type="qwen3"))

    said = "<think>\nhm\n</think>\n\nBecause."
    for stream in (False, True):
        state = program.run(backend=FakeBackend(lambda text: said), stream=stream)
        assert (state["x"], state["x_reasoning_content"]) == ("Because.", "hm")
        assert state.text() == "USER:Why?\nASSISTANT:Because.\n"


def test_a_stream_tells_thoughts_as_they_come() -> None:
    said = "<think>hm</think>Because."

    @sgl.function
    def program(s: Any) -> None:
        for name in "xy":
            s += sgl.user("Why?")
            s += sgl.assistant(sgl.separate_reasoning(sgl.gen(name), model_type="qwen3"))

    backend = FakeBackend(lambda text: said)
    state = program.run(backend=backend, stream=True)
    turn = "USER:Why?\nASSISTANT:{}\n"
    assert "".join(state.text_iter()) == turn.format(said) * 2 and "".join(state.text_iter("y")) == said
    assert state.text() == turn.format("Because.") * 2
    assert backend.asked[1][0] == turn.format("Because.") + "USER:Why?\nASSISTANT:"  # the model reads answers alone


def test_no_reader_sees_thoughts_that_are_to_be_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(text: str, model_type: str | None) -> tuple[str, str]:
        time.sleep(0.05)  # the reader waits meanwhile
        return "hm", "Because."

    monkeypatch.setattr(executor, "thinking_and_answer", slowly)

    @sgl.function
    def program(s: Any) -> None:
        s += sgl.assistant(sgl.separate_reasoning(sgl.gen("x"), model_type="qwen3"))

    state = program.run(backend=FakeBackend(lambda text: "<think>hm</think>Because."))
    assert state["x"] == "Because."
