"""The run for GPUs, tiny and on a processor, so that it does not rot; and what its tables say of made-up results."""

import json
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import pytest

from benchmarks.gpu.peer_servers import serving_peer
from benchmarks.gpu.run import jobs, main, section_lines
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.table import BEGIN, END, HERE, NEVER, standing, table
from stemma.core.base.errors import StemmaError
from stemma.core.config.machine import probe

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(300)
def test_a_tiny_run_ends_with_right_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sections = ["kernels", "correctness", "bits", "steps", "workload"]
    asked = ["--tiny", "--device=cpu", "--engines=stemma", f"--output={tmp_path}", "--minutes=5", "--only", *sections]
    assert main(asked) == 0
    [file], [page] = tmp_path.glob("*.jsonl"), tmp_path.glob("*.md")
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    assert not [line for line in lines if "error" in line]
    done = [line["section"] for line in lines if line["case"] == "took"]
    assert done == ["facts", "ceilings", "weights", "correctness", "bits", "steps", "workload", "kernels"]
    assert all(line["is_right"] for line in lines if "is_right" in line)
    same = {line["run"]: line["same"] for line in lines if line["case"] == "same tokens"}
    assert same == dict.fromkeys(("alone", "together", "in a full batch", "chunked", "launch by launch", "depth 1"), 4)
    assert {line["what"] for line in lines if line["case"] == "same bits"} >= {"attention", "gated linear 256x64"}
    cases = {line["case"] for line in lines}
    assert {"linear", "gated_linear", "linear, int8", "linear, int4", "logits", "add_rms_norm", "norm_rotate"} <= cases
    assert "## What the same bytes cost" in page.read_text()
    assert "## Kernels" in page.read_text()
    assert "offline" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "seconds", "why"), [("nothing", 60.0, "no section 'nothing'"), ("facts", 0.05, "stopped after 0 s")]
)
def test_a_section_that_fails_or_hangs_is_told(tmp_path: Path, name: str, seconds: float, why: str) -> None:
    with (tmp_path / "log").open("w") as log:
        *_, last = section_lines(name, Stage(device="cpu", seconds=seconds), log)
    assert last["case"] == "failed"
    assert why in str(last["error"])


def test_real_models_do_not_run_on_a_processor_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.gpu.run.probe", lambda: msgspec.structs.replace(probe(), accelerators=()))
    assert main([f"--output={tmp_path}"]) == 2
    assert "no GPU: " in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_is_run_and_in_which_order() -> None:
    engines = ("stemma", "transformers-static", "vllm")
    planned = [(job.section, job.models, job.engines) for job in jobs(("a", "b"), engines, ())]
    assert planned[:4] == [
        *(("facts", (), ()), ("ceilings", (), ())),
        *(("weights", ("a", "b"), ()), ("correctness", ("a",), ())),
    ]
    assert planned.index(("steps", ("b",), ("stemma",))) < planned.index(("steps", ("a",), ("vllm",)))
    assert planned[-2] == ("server", ("a",), ("vllm",))
    asked = [job.section for job in jobs(("a",), engines[:2], ("server",))]
    assert asked == ["facts", "ceilings", "weights", "server"]


def test_a_peer_is_served_like_ourselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files stand for it: one is its health."""
    (tmp_path / "health").touch()
    command = {"files": lambda folder, port, context: ["http.server", f"--directory={folder}", str(port)]}
    monkeypatch.setattr("benchmarks.gpu.peer_servers.SERVERS", command)
    with serving_peer("files", tmp_path, 512) as url:
        assert urlopen(f"{url}/health").status == 200
    with pytest.raises(URLError):
        urlopen(f"{url}/health")
    command["files"] = lambda folder, port, context: ["no_such_server"]
    with (
        pytest.raises(StemmaError, match="files ended while it started: exit status 1"),
        serving_peer("files", ROOT, 1),
    ):
        pass


RUN: list[dict[str, Any]] = [
    {"section": "run", "case": "began", "date": "today", "commit": "c0ffee"},
    {"section": "facts", "case": "machine", "accelerator": "NVIDIA H200"},
    {"section": "ceilings", "case": "read", "bytes_per_second": 4.0e12},
    {"section": "ceilings", "case": "matrix", "flops": 800e12},
    {
        "section": "steps",
        "case": "decode",
        "model": "qwen3-8b",
        "engine": "stemma",
        "rows": 1,
        "context": 1088,
        "ms": 7.6,
        "spread_ms": 0.1,
        "tokens_per_second": 131.6,
    },
    {
        "section": "kernels",
        "case": "gated",
        "model": "qwen3-8b",
        "shape": "8x8",
        "difference": 1.0,
        "is_right": False,
        "us": 10.0,
        "torch_us": None,
        "bytes": 4_000_000,
        "flops": 0,
    },
    *(
        {"section": "kernels", "case": case, "model": "qwen3-8b", "shape": "8x64 @ 64x64", **told}
        for case, us, torch_us in (("linear", 10.4, 10.0), ("gated_linear", 20.8, 20.0))
        for told in ({"difference": 0.0, "is_right": True, "us": us, "torch_us": torch_us, "bytes": 1, "flops": 0},)
    ),
    {"section": "server", "case": "failed", "models": ["qwen3-8b"], "engines": [], "error": "exit status 1:\nwhy"},
]


def test_the_table_of_a_run_tells_shares_and_failures() -> None:
    page = table(RUN)
    assert "# NVIDIA H200, today, commit c0ffee" in page
    assert (
        "| decode | qwen3-8b | stemma | 1 | 1088 | 7.6 | 0.1 | 132 | 50% |" in page
    )  # 15.1 GB and 0.2 of cache at 4 TB/s
    assert "| gated | qwen3-8b | 8x8 | 1.0e+00 | NO | 10 | None |  | 10% |" in page
    assert "| qwen3-8b | 8 | 31.2 | 30 | +4.0% | yes |" in page
    assert "| server | failed | qwen3-8b  | exit status 1: why |" in page


def test_where_we_stand_names_what_was_never_measured() -> None:
    before, after = standing([]), standing(RUN)
    assert f"| qwen3-8b, step of 1, ms | 3.18 | 4.3 | {NEVER} | {NEVER} |" in before
    assert f"| qwen3-8b, step of 1, ms | 3.18 | 4.3 | 7.6 | {NEVER} |" in after
    assert before.count(NEVER) == after.count(NEVER) + 1


def test_the_page_shows_the_results_that_there_are() -> None:
    lines = [
        json.loads(text)
        for file in sorted((HERE / "results").glob("*.jsonl"))
        for text in file.read_text().splitlines()
    ]
    page = (HERE / "README.md").read_text()
    assert page.partition(BEGIN)[2].partition(END)[0] == standing(lines)
