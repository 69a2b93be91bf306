"""Constrained answers as text: several continuations, stop strings, streams; with forced text given, and drawn."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stemma import Engine
from stemma.control.grammar.parts import checked
from stemma.core.base.errors import BadRequest
from tests.checkpoints import tiny_checkpoint
from tests.unit.control.grammar.random_schemas import schema

PATTERN = r'\{"a_long_and_constant_key": "[a-z]{2,4}", "another_constant_key": [0-9]{1,3}\}'
ASKED = {"regex": PATTERN, "temperature": 1.5, "max_new_tokens": 120, "sampling_seed": 5}


@pytest.fixture(scope="module", params=[False, True], ids=["given", "drawn"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    with Engine(model_path=str(folder), disable_jump_forward=request.param, max_total_tokens=4096) as engine:
        yield engine


def test_every_continuation_matches_and_is_its_own(engine: Engine) -> None:
    answers: Any = engine.generate("x", {**ASKED, "n": 4})
    texts = [answer["text"] for answer in answers]
    assert all(re.fullmatch(PATTERN, text) for text in texts) and len(set(texts)) > 1
    assert all(answer["meta_info"]["completion_tokens"] == len(answer["output_ids"]) for answer in answers)


@pytest.mark.parametrize("stop", ["constant", "_key", '": "', "another"])
def test_a_stop_string_ends_it_wherever_it_stands(engine: Engine, stop: str) -> None:
    whole: Any = engine.generate("x", ASKED)
    answer: Any = engine.generate("x", {**ASKED, "stop": [stop]})
    assert answer["text"] == whole["text"].split(stop)[0]
    assert answer["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert bytes(answer["output_ids"]).decode() == answer["text"] + stop
    assert answer["meta_info"]["completion_tokens"] == len(answer["output_ids"])


def test_hot_answers_under_grammars_drawn_by_chance_are_valid(engine: Engine) -> None:
    """Whoever came to an end kept to its schema; whoever was refused was told which keyword it was for."""
    draw = Random(11)
    sources = [schema(draw) for _ in range(60)]

    def answer(source: object) -> Any:
        asked = {"json_schema": json.dumps(source), "temperature": 1.5, "max_new_tokens": 60, "sampling_seed": 3}
        try:
            return engine.generate("x", asked)
        except BadRequest as error:
            assert "json_schema" in str(error)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(answer, sources))
    complete = 0
    for source, said in zip(sources, answers, strict=True):
        if said is not None and said["meta_info"]["finish_reason"]["type"] == "stop":
            complete += 1
            assert Draft202012Validator(checked(source)).is_valid(json.loads(said["text"])), [source, said["text"]]
    assert complete > 15


def test_a_stream_says_the_same(engine: Engine) -> None:
    whole: Any = engine.generate("x", {**ASKED}, return_logprob=True)
    events: list[Any] = list(engine.generate("x", ASKED, stream=True, return_logprob=True))
    assert events[-1]["text"] == whole["text"] and events[-1]["output_ids"] == whole["output_ids"]
    for answer in (whole, events[-1]):
        said = answer["meta_info"]["output_token_logprobs"]
        assert [token for _, token, *_ in said] == whole["output_ids"]
        assert sum(logprob == 0 for logprob, *_ in said) > 40


def test_a_grammar_that_cannot_be_served_is_refused_before_the_first_event(engine: Engine) -> None:
    with pytest.raises(BadRequest, match="look"):
        engine.generate("x", {"regex": "a(?=b)b"})
    with pytest.raises(BadRequest, match="look"):
        next(engine.generate("x", {"regex": "a(?=b)b"}, stream=True))
