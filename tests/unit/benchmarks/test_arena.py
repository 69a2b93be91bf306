"""The arena's judgement: when texts are the same, what a table says, how tokens become text again."""

import asyncio
import random
import xml.etree.ElementTree
from pathlib import Path

import pytest

from benchmarks.arena.__main__ import loads
from benchmarks.arena.adapter import Text
from benchmarks.arena.contest import Engine, Outcome
from benchmarks.arena.pareto import draw
from benchmarks.arena.recipe import RECIPES, cooked
from benchmarks.arena.same import Said, leads, parting, same_texts
from benchmarks.arena.table import table
from stemma.bench.door import OpenAI, Server
from stemma.bench.http import address_of
from stemma.bench.load import Load
from stemma.bench.report import report_of
from stemma.bench.timeline import Timeline
from stemma.bench.workload import ONE, Prompt
from stemma.core.base.errors import StemmaError, UnknownName

JUDGED = Said(text="abcdef", margins=[(2, 0.5), (4, 0.1), (6, 0.7)])


@pytest.mark.parametrize(
    ("text", "at", "lead"),
    [
        ("abcdef", 6, 0.0),
        ("abXdef", 2, 0.1),
        ("Xbcdef", 0, 0.5),
        ("abcdeX", 5, 0.7),
        ("abcd", 4, 0.0),  # the rest is held back: half a letter
        ("abcd\N{REPLACEMENT CHARACTER}", 4, 0.0),
    ],
)
def test_texts_part_where_the_judge_tells_how_clear_it_was(text: str, at: int, lead: float) -> None:
    assert parting(JUDGED, text) == (at, lead)


def test_a_judge_without_logprobs_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(server: Server, prompt: Prompt, with_margins: bool) -> Said:
        return Said(text="a", margins=[(1, float("inf"))])

    monkeypatch.setattr("benchmarks.arena.same.say", silent)
    with pytest.raises(StemmaError, match="a tells no log-probabilities and cannot judge"):
        asyncio.run(same_texts([engine("a"), engine("b")], range(9), 0.2))


def test_leads() -> None:
    tops = [{"a": -0.5, "b": -1.5}, {"?": -1.25}, {"?": -2.0}]
    logprobs = {"token_logprobs": [-0.5, -1.0, -2.0], "top_logprobs": tops}
    assert leads({"choices": [{"logprobs": logprobs}]}) == pytest.approx([1.0, 0.25, 0.0])
    assert leads({"choices": []}) == leads({"choices": [{"logprobs": None}]}) == []


def engine(name: str) -> Engine:
    return Engine(name=name, server=Server(address=address_of("x"), door=OpenAI("m"), vocabulary=None, settings={}))


def outcome(name: str, seconds: float, tokens: int = 10, wanted: int = 10, error: str | None = None) -> Outcome:
    timeline = Timeline(5, wanted, error=error, is_done=error is None)
    timeline.hear(seconds / 2, "x", 1)
    timeline.hear(seconds, "x", tokens)
    report = report_of("openai", Load(workload=ONE), [timeline])
    return Outcome(engine=engine(name), workload="latency", repetition=0, report=report, disturbance=0.0)


def test_the_table_has_medians_spread_and_the_ratio_to_the_best_other() -> None:
    runs = [outcome("a", seconds) for seconds in (1.0, 2.0, 5.0)] + [outcome("b", 4.0), outcome("c", 8.0)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(runs).splitlines()]
    assert rows[0][:5] == ["workload", "engine", "runs", "output tok/s", "to the best other"]
    assert rows[2][:5] == ["latency", "a", "3", "5.0 (2.0-10.0)", "2.00"]
    assert [row[4] for row in rows[2:]] == ["2.00", "0.50", "0.25"]
    assert rows[2][5] == "1000 (500-2500)"


def test_what_is_not_valid_counts_nowhere() -> None:
    runs = [outcome("a", 1.0), outcome("a", 9.0, tokens=9), outcome("b", 1.0, error="refused")]
    assert [each.is_valid for each in runs] == [True, False, False]
    first, second = table(runs).splitlines()[2:]
    assert "| a | 1 of 2 valid | 10.0 (10.0-10.0) | - |" in first
    assert "| b | 0 of 1 valid | - | - |" in second
    assert runs[2].record()["error"] == "refused"


def test_the_picture_has_a_point_per_engine(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    draw([outcome("a", 1.0), outcome("a", 2.0), outcome("b", 4.0), outcome("c", 1.0, tokens=9)], path)
    root = xml.etree.ElementTree.fromstring(path.read_text())
    circles = [each.attrib for each in root if each.tag.endswith("circle")]
    # The axis ends a tenth above the fastest run, which has 10 tokens per second; so have a's medians 7.5, b's 2.5.
    places = [70 + 260 * rate / 11 for rate in (7.5, 2.5)]
    assert [float(circle["cx"]) for circle in circles] == pytest.approx(places, abs=0.1)
    assert "latency" in "".join(root.itertext())
    draw([], path)
    assert len(xml.etree.ElementTree.fromstring(path.read_text())) == 1


def test_no_prompt_comes_twice() -> None:
    seeds = [load.seed for number in range(4) for load in loads(Load(workload=ONE), number, 5)]
    assert len(set(seeds)) == 20
    assert [load.warmups for load in loads(Load(workload=ONE), 1, 3)] == [1, 0, 0]


def test_tokens_become_text_letter_by_whole_letter() -> None:
    def decode(tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    draw = random.Random(1)
    letters = "".join(draw.choice("aß€𝄞 ") for _ in range(60))
    text = Text(decode)
    pieces = [text.add([byte]) for byte in letters.encode()]
    assert "".join(pieces) == letters
    assert all(len(piece) <= 1 for piece in pieces)


def test_an_unknown_recipe(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no recipe 'nobody'; there are llama_cpp, openvino, stemma, trans"):
        cooked("nobody", tmp_path, "model").__enter__()


def test_every_recipe_installs_and_serves() -> None:
    scripts = sorted(RECIPES.glob("*.sh"))
    assert [script.stem for script in scripts] == ["llama_cpp", "openvino", "stemma", "transformers", "vllm"]
    for script in scripts:
        assert "\ninstall)\n" in script.read_text() and "\nserve)\n" in script.read_text()
