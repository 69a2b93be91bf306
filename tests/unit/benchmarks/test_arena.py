"""The arena's judgement: when texts are the same, what limits and tables say, how tokens become text again."""

import asyncio
import random
import signal
import sys
import xml.etree.ElementTree
from pathlib import Path
from subprocess import Popen

import pytest
from msgspec import structs
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from benchmarks.arena.__main__ import main
from benchmarks.arena.adapter import Text
from benchmarks.arena.contest import PLAYED, Rules
from benchmarks.arena.limits import Floor, Limits, floor
from benchmarks.arena.lines import Line, Result, Start
from benchmarks.arena.lineup import LINEUP, Contender, contender
from benchmarks.arena.models import SHAPES, Shape, shape_of, tokenizer, write
from benchmarks.arena.picture import draw
from benchmarks.arena.recipe import RECIPES, Engine, started
from benchmarks.arena.same import Said, difference, leads, parting, probed
from benchmarks.arena.table import tables
from stemma.bench.door import OpenAI, Server
from stemma.bench.http import address_of
from stemma.bench.workload import WORKLOADS, Prompt
from stemma.core.base.errors import StemmaError, UnknownName

JUDGED = Said(text="abcdef", margins=[(2, 0.5), (4, 0.1), (6, 0.7)])
LIMITS = Limits(threads=2, read=1e9, bf16=1e12, int8=2e12, of_bf16="x", of_int8="y")
TINY = Shape(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    vocab_size=700,
    tie_word_embeddings=True,
)


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
    told = difference([JUDGED], [Said(text=text, margins=[])], margin=0.4)
    assert (told is not None) == (lead > 0.4)


def test_a_judge_without_logprobs_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(server: Server, prompt: Prompt, with_margins: bool) -> Said:
        return Said(text="a", margins=[(1, float("inf"))])

    monkeypatch.setattr("benchmarks.arena.same.say", silent)
    server = Server(address=address_of("x"), door=OpenAI("m"), vocabulary=None, settings={})
    assert len(asyncio.run(probed(server, range(9), is_judge=False))) == 16
    with pytest.raises(StemmaError, match="tells no log-probabilities and cannot judge"):
        asyncio.run(probed(server, range(9), is_judge=True))


def test_leads() -> None:
    tops = [{"a": -0.5, "b": -1.5}, {"?": -1.25}, {"?": -2.0}]
    logprobs = {"token_logprobs": [-0.5, -1.0, -2.0], "top_logprobs": tops}
    assert leads({"choices": [{"logprobs": logprobs}]}) == pytest.approx([1.0, 0.25, 0.0])
    assert leads({"choices": []}) == leads({"choices": [{"logprobs": None}]}) == []


def result(
    name: str, seconds: float, model: str = "M", workload: str = "serve", weights: str = "bf16", is_valid: bool = True
) -> Result:
    return Result(
        model=model,
        engine=name,
        weights=weights,
        workload=workload,
        round=0,
        is_valid=is_valid,
        error=None,
        disturbance=0.0,
        floor=Floor(prefill=0.25, decode=0.75),
        duration=seconds,
        output_throughput=10 / seconds,
        total_input_tokens=5,
        total_output_tokens=10,
        median_ttft_ms=250 * seconds,
        p99_ttft_ms=500 * seconds,
        median_tpot_ms=100 * seconds,
        median_itl_ms=1.0,
        p99_itl_ms=20 * seconds,
        max_itl_ms=3.0,
    )


def start(name: str, seconds: float | None, parting: str | None = None, error: str | None = None) -> Start:
    return Start(
        model="M",
        engine=name,
        weights="bf16",
        round=0,
        ready_seconds=seconds,
        is_compared=True,
        parting=parting,
        error=error,
    )


def cells(lines: list[Line], title: str) -> list[list[str]]:
    """The rows of the table below a title."""
    (part,) = [each for each in tables(lines).split("\n\n**") if title in each]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in part.splitlines() if row.startswith("|")]


def test_the_table_has_medians_spread_limits_and_the_ratio_to_the_best_other_of_equal_weights() -> None:
    lines: list[Line] = [start("a", 1.0), *(result("a", seconds) for seconds in (1.0, 2.0, 5.0))]
    lines += [result("b", 4.0), result("c", 8.0), result("a-int8", 0.5, weights="int8"), result("d", 1, model="S")]
    rows = cells(lines, "Model M. W2 and W4")
    assert rows[0][:6] == ["engine", "weights", "runs", "output tok/s", "to the best other", "% of limit"]
    assert rows[2][:6] == ["a", "bf16", "3", "5.0 (2.0-10.0)", "2.00", "50 (20-100)"]
    assert [row[4] for row in rows[2:]] == ["2.00", "0.50", "0.25", "-"]
    assert rows[2][6] == "0.50 (0.25-1.25)"


def test_what_is_not_valid_counts_nowhere() -> None:
    lines: list[Line] = [
        start("a", 1.0),
        result("a", 1.0),
        result("a", 9.0, is_valid=False),
        result("b", 1.0, is_valid=False),
    ]
    first, second = cells(lines, "W2 and W4")[2:]
    assert first[:5] == ["a", "bf16", "1 of 2 valid", "10.0", "-"]
    assert second[:5] == ["b", "bf16", "0 of 1 valid", "-", "-"]


def test_tokens_that_came_in_one_piece_have_no_rate(tmp_path: Path) -> None:
    pieces = [structs.replace(result("a", 1.0, workload="latency"), median_tpot_ms=0.0)]
    lines: list[Line] = [start("a", 1.0), *pieces, result("b", 1.0, workload="latency")]
    first, second = cells(lines, "W1")[2:]
    assert first[3:6] == ["-", "-", "-"] and second[3:5] == ["10.0", "-"]
    lines += [structs.replace(result("a", 1.0), p99_itl_ms=0.0)]
    draw(lines, tmp_path / "p.svg")
    assert "b" in (tmp_path / "p.svg").read_text()


def test_starts_tell_medians_and_what_went_wrong() -> None:
    lines: list[Line] = [start("a", 1.0), start("a", 3.0), start("b", 2.0, parting="probe 1 parts"), start("c", None)]
    lines.append(start("d", None, error="it did not come up"))
    rows = cells(lines, "From the command")[2:]
    assert [row[2] for row in rows] == ["2.0", "2.0", "-", "-"]
    assert [row[4] for row in rows] == ["yes", "probe 1 parts", "yes", "it did not come up"]


def test_the_picture_has_a_panel_per_workload_and_names_every_engine(tmp_path: Path) -> None:
    lines = [result(name, 1.0, workload=workload) for name in ("one", "two") for workload in PLAYED]
    draw([*lines, result("never", 1.0, is_valid=False)], tmp_path / "a.svg")
    words = "".join(xml.etree.ElementTree.fromstring((tmp_path / "a.svg").read_text()).itertext())
    assert words.count("one") >= 3 and "M: W1" in words and "never" not in words
    draw(lines, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw([], tmp_path / "none.svg")


def test_a_floor_counts_every_weight_once_per_step_and_what_is_shared_once() -> None:
    """By hand: two requests of 2 own tokens behind 3 shared, 3 tokens out; both decode for two steps."""
    prompts = [Prompt([1, 1, 1, 2, 2], 3), Prompt([1, 1, 1, 3, 3], 3)]
    weights = 2 * 64 * ((2 * 4 + 2 * 2) * 16 + 3 * 96)
    assert (TINY.layer_weights, TINY.head_weights, TINY.token_numbers) == (weights, 700 * 64, 2 * 2 * 2 * 16)
    found = floor(TINY, "bf16", prompts, 3, LIMITS)
    pairs = 3 * 3 / 2 + 2 * (2 * 3 + 2 * 2 / 2)
    assert found.prefill == pytest.approx((2 * weights * (3 + 2 + 2) + 4 * 2 * 64 * pairs) / 1e12)
    own = 2 * (2 * 2 + 2 * 2 / 2)
    assert found.decode == pytest.approx((2 * 2 * (weights + 700 * 64) + (own + 2 * 3) * 128 * 2) / 1e9)
    slow = floor(TINY, "bf16", prompts, 3, Limits(threads=1, read=1e15, bf16=1e6, int8=1e6, of_bf16="", of_int8=""))
    assert slow.decode == pytest.approx(2 * (weights + 700 * 64) * 4 / 1e6)


def test_a_model_is_what_transformers_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "M", TINY)
    write("M", tmp_path)
    assert shape_of(tmp_path) == TINY
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    numbers = sum(each.numel() for each in model.parameters())
    norms = 64 + 2 * (2 * 64 + 2 * 16)
    assert numbers == TINY.layer_weights + TINY.head_weights + norms
    words = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rows = model.lm_head.weight.float().norm(dim=1)
    assert all((rows[at] > 0) == (words.decode([at]).isascii() and at >= 259) for at in range(700))


def test_every_token_above_the_bytes_can_be_shown() -> None:
    made = tokenizer(5000)
    texts = [made.decode([token]) for token in range(259, 5000)]
    assert made.get_vocab_size() == 5000 and len(set(texts)) == len(texts)
    assert all(text.isascii() and text.isalpha() for text in texts)


def test_no_prompt_comes_twice() -> None:
    ids = range(300, 700)
    loads = [Rules().load(name, ids, round_, name == "latency") for name in PLAYED for round_ in range(5)]
    assert len({load.seed for load in loads}) == 15
    assert [load.warmups for load in loads[4:6]] == [1, 0]
    few = [Rules(quick=True).load(name, ids, 0, True).workload for name in PLAYED]
    assert [each.requests for each in few] == [1, 4, 4] and few[2].shared_tokens == 32
    assert Rules().load("prefix", ids, 0, True).workload == WORKLOADS["prefix"]


def test_slow_workloads_are_played_once() -> None:
    one = Contender(name="x", once=("serve",), never=("prefix",))
    assert [one.plays(PLAYED, round_) for round_ in (0, 1)] == [["latency", "serve"], ["latency"]]


def test_contenders() -> None:
    assert contender("x=http://127.0.0.1:1").url == "http://127.0.0.1:1"
    assert contender("x=vllm").recipe == "vllm"
    assert not contender("stemma-int8").is_exact and contender("openvino").is_exact
    with pytest.raises(UnknownName, match="no engine 'nobody'; there are llama"):
        contender("nobody")


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
        started(Contender(name="x", recipe="nobody"), tmp_path, Path("model"))


def test_every_recipe_installs_prepares_and_serves() -> None:
    scripts = sorted(RECIPES.glob("*.sh"))
    assert [script.stem for script in scripts] == ["llama_cpp", "openvino", "stemma", "transformers", "vllm"]
    assert {each.recipe for each in LINEUP.values()} == {script.stem for script in scripts}
    for script in scripts:
        assert all(f"\n{word})" in script.read_text() for word in ("install", "prepare", "serve"))


def test_a_stopped_engine_ends() -> None:
    engine = Engine("", process=Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0))
    assert (engine.resident_bytes() or 0) > 0
    busy, own = engine.others_seconds(), Engine("").others_seconds()
    assert busy is not None and busy > 0 and own is None
    engine.signal(signal.SIGSTOP)
    engine.end()
    assert engine.process is not None and engine.process.returncode == -signal.SIGTERM


def test_a_small_contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours beside transformers, from the command line to tables and picture, and once more from the lines."""
    monkeypatch.setitem(SHAPES, "S", TINY)
    monkeypatch.setenv("ARENA_PYTHON", sys.executable)
    write("S", tmp_path / "S")
    files = ["--tables", str(tmp_path / "a.md"), "--picture", str(tmp_path / "a.svg")]
    words = f"--engines stemma transformers --models {tmp_path / 'S'} --peers {tmp_path} --rounds 1 --quick".split()
    status = main([*words, "--output", str(tmp_path / "a.jsonl"), *files])
    told = capsys.readouterr().out
    assert status == 0, told
    rows = (tmp_path / "a.md").read_text().splitlines()
    assert [row.split(" | ")[-1] for row in rows if row.startswith(("| stemma", "| trans"))][-2:] == ["yes |", "yes |"]
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2 + 2 + 3 + 1
    first = (tmp_path / "a.md").read_text()
    assert main(["--again", str(tmp_path / "a.jsonl"), *files]) == 0
    assert (tmp_path / "a.md").read_text() == first
