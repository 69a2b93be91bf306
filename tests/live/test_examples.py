"""The examples, run as they stand, on the model that comes with Stemma."""

import runpy
from collections.abc import Iterator

import pytest

import stemma
from tests.architecture.source import ROOT

SAID = {  # by each example, whatever the model says
    "chat": "found in the cache:",
    "few_shot": "What is 7 + 10?",
    "judge": "Is grass green?",
    "self_consistency": " x ",
    "streaming": "Tell me a short story about a fox.",
    "tree_of_thought": "answer:",
}
FOLDER = ROOT / "examples" / "language"


@pytest.fixture(scope="module")
def acorn() -> Iterator[stemma.Engine]:
    with stemma.Engine(threads=1, max_total_tokens=16384) as engine:
        yield engine


def test_every_example_is_run() -> None:
    assert [path.stem for path in sorted(FOLDER.glob("*.py"))] == sorted(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_runs(name: str, acorn: stemma.Engine, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / f"{name}.py"))["main"](acorn)
    assert SAID[name] in capsys.readouterr().out
