"""Typed answers: what is asked of the backend, what is read, and what happens when it cannot be read."""

import dataclasses
import enum
import json
import re
from typing import Any, Literal

import jsonschema
import msgspec
import pydantic
import pytest

import stemma as sgl
from stemma.front.lang.errors import Misuse, ProgramError
from stemma.front.lang.program import SglFunction
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.transcript import Transcript
from tests.unit.front.lang.fakes import FakeBackend


class Struct(msgspec.Struct):
    name: str
    age: int = 0


@dataclasses.dataclass
class Plain:
    name: str
    owner: Struct


class Model(pydantic.BaseModel):
    name: str
    age: int = 0


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Cut(FakeBackend):
    """Says that the answer was cut off, in the words of `/generate` or of OpenAI."""

    reason: object = "length"

    def generate(self, transcript: Transcript, sampling: Sampling) -> tuple[str, Json]:
        return self.script(transcript.text), {"finish_reason": self.reason}


def typed(kind: Any, **options: Any) -> SglFunction:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q:"
        s += sgl.gen("x", schema=kind, **options)

    return program


VALUES: list[tuple[Any, str, object, str]] = [  # a type, an answer, its value, an answer that does not fit
    (Struct, '{"name": "Ida", "age": 31}', Struct("Ida", 31), '{"age": 31}'),
    (Struct, '{"name": "Ida"}', Struct("Ida"), '{"name": "Ida", "other": 1}'),
    (Plain, '{"name": "a", "owner": {"name": "b"}}', Plain("a", Struct("b")), '{"name": "a", "owner": "b"}'),
    (Model, '{"name": "a"}', Model(name="a"), '{"name": 1}'),
    (list[int], "[1, 2]", [1, 2], '["1"]'),
    (Literal["yes", "no"], '"no"', "no", '"maybe"'),
    (Size, '"l"', Size.LARGE, '"m"'),
    (dict[str, bool], '{"a": true}', {"a": True}, "[]"),
    (str | None, "null", None, "1"),
]


@pytest.mark.parametrize(("kind", "answer", "value", "wrong"), VALUES, ids=lambda each: str(each)[:24])
def test_an_answer_becomes_a_value_of_its_type(kind: Any, answer: str, value: object, wrong: str) -> None:
    backend = FakeBackend(lambda text: answer)
    for stream in (False, True):
        state = typed(kind).run(backend=backend, stream=stream)
        assert state["x"] == value and type(state["x"]) is type(value)
        assert state.text() == "Q:" + answer and "".join(state.text_iter("x")) == answer
    schema: Any = backend.asked[0][1].json_schema
    jsonschema.validate(json.loads(answer), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(wrong), schema)


def test_several_answers_become_several_values() -> None:
    state = typed(int, n=2).run(backend=FakeBackend(lambda text: "4"))  # says 40 and 41
    assert state["x"] == [40, 41] and state.text() == "Q:40"


@pytest.mark.parametrize("reason", ["length", {"type": "length", "length": 9}])
def test_a_cut_answer_is_an_error_that_names_the_line(reason: object) -> None:
    for kind, answer, is_whole in ((Struct, '{"name": "Id', False), (int, "12", False), (list[int], "[12]", True)):
        backend = Cut(lambda text, answer=answer: answer)  # type: ignore[misc]  # bound now, not later
        backend.reason = reason
        program = typed(kind)
        state = program.run(backend=backend)
        if is_whole:
            assert state["x"] == [12]
            continue
        line = program.func.__code__.co_firstlineno + 3
        told = rf"{re.escape(__file__)}:{line}: Unreadable: .*cut off; raise max_tokens.*{re.escape(repr(answer))}"
        with pytest.raises(ProgramError, match=told):
            state["x"]
        assert state.text() == "Q:" + answer


def test_an_answer_of_another_type_is_an_error() -> None:
    with pytest.raises(ProgramError, match=r"not of the type .*Expected `array`"):
        typed(list[int]).run(backend=FakeBackend(lambda text: '"no"'))["x"]


def test_what_is_no_type_is_refused_where_it_is_said() -> None:
    for kind in ({"type": "object"}, 3, object()):
        with pytest.raises(Misuse, match="goes to json_schema"):
            sgl.gen("x", schema=kind)
    both: list[dict[str, Any]] = [{"choices": ["a"]}, {"regex": "a"}, {"dtype": int}, {"json_schema": {}}]
    for others in both:
        with pytest.raises(Misuse, match="whole form"):
            sgl.gen("x", schema=int, **others)
