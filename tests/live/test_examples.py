"""The examples, run as they stand, on the model that comes with Stemma."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import stemma
from stemma.front.lang.settings import global_config
from tests.architecture.source import ROOT

SAID = {  # by each example, whatever the model says; of tools and extraction, what it says rightly
    "agent": "The weather in Paris is rainy with 12 degrees.",
    "chat": "found in the cache:",
    "extraction": "31: Camila Stone, teacher in Oslo",
    "few_shot": "What is 7 + 10?",
    "judge": "Is grass green?",
    "retrieval": "What is the null page?",
    "self_consistency": " x ",
    "skeleton_of_thought": "- Mayor: The mayor of Fernhill is Otto Brambly.",
    "streaming": "Tell me a short story about a fox.",
    "tree_of_thought": "answer:",
}
PAGE = ROOT / "docs" / "how" / "language.md"
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


def code_of(page: Path) -> str:
    """The page with everything but its Python left blank, so that lines keep their numbers."""
    lines, is_code = [], False
    for line in page.read_text().splitlines():
        is_fence = line.startswith("```")
        lines.append(line if is_code and not is_fence else "")
        is_code = line == "```python" if is_fence else is_code
    return "\n".join(lines)


def test_the_page_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(global_config, "default_backend", None)
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(PAGE), str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    assert "{'role': 'user', 'content': 'What is 17 + 25?'}" in said and "'type'" in said
    assert "32 " in said and "<svg" in (tmp_path / "tips.svg").read_text()
    assert re.search(r"ProgramError .*language.md:\d+: Misfit: .*temperature", said)
