"""Constrained answers as text: several continuations, stop strings, streams; with forced text given, and drawn."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from stemma import Engine
from stemma.core.base.errors import BadRequest
from tests.checkpoints import tiny_checkpoint

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
