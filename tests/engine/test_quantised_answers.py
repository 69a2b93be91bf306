"""acorn answers as well from quantised weights: additions and facts that training never met, in unseen wordings too."""

import sys
from functools import cache
from pathlib import Path

import pytest

from stemma.core.config.quant import Format
from tests.bodies import NATIVE

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools.acorn.evaluate import stemma_engine  # noqa: E402  # the tools lie outside the package, so the path comes first
from tools.acorn.exam import questions  # noqa: E402

COUNT = 100  # questions of each task and kind of wording
ROOM = {"int8": 0.01, "int4": 0.04}

pytestmark = pytest.mark.skipif(not NATIVE, reason="plain torch would take minutes")


@cache
def right(format: Format) -> float:
    """The share of questions that are answered to the letter."""
    asked = [
        question
        for task in ("addition", "facts")
        for unseen in (False, True)
        for question in questions(task, COUNT, unseen_wordings=unseen, seed=2026)
    ]
    generate = stemma_engine(ROOT / "models/acorn", None if format == "plain" else format)
    texts = generate([question.prompt for question in asked])
    return sum(question.is_right(text) for question, text in zip(asked, texts, strict=True)) / len(asked)


@pytest.mark.parametrize("format", ROOM)
def test_as_many_answers_are_right(format: Format) -> None:
    assert right("plain") > 0.95
    assert right(format) >= right("plain") - ROOM[format]
