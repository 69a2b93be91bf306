"""`stemma bench` as a user runs it, on a server of its own and on one that runs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import tiny_checkpoint
from tests.live_server import LiveServer, live_server

SMALL = "--requests 3 --input-tokens 16-24 --output-tokens 4".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    with live_server(folder, folder / "log", "--max-total-tokens", "16k") as running:
        yield running


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stemma", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_server_of_its_own(folder: Path, tmp_path: Path) -> None:
    output, plot = tmp_path / "a.jsonl", tmp_path / "a.svg"
    words = ("throughput", str(folder), *SMALL, "--max-total-tokens", "2k")
    done = bench(*words, "--output", str(output), "--plot", str(plot))
    assert (done.returncode, done.stderr) == (0, "")
    line = json.loads(output.read_text())
    assert (line["backend"], line["completed"], line["total_output_tokens"]) == ("native", 3, 12)
    assert line["server_info"]["max_total_num_tokens"] == 2000 // 16 * 16
    assert "Total generated tokens:                  12" in done.stdout
    assert "<svg " in plot.read_text()


def test_both_doors_of_a_server_that_runs(server: LiveServer, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    for words in (("serve", "--seed", "1"), ("prefix", "--shared-tokens", "32", "--seed", "2")):
        done = bench(*words, *SMALL, "--url", server.url, "--output", str(output), "--details")
        assert (done.returncode, done.stderr) == (0, "")
    serve, prefix = map(json.loads, output.read_text().splitlines())
    assert (serve["backend"], prefix["backend"]) == ("openai", "native")
    assert serve["output_lens"] == prefix["output_lens"] == [4, 4, 4]
    assert serve["total_cached_tokens"] == 0 < prefix["total_cached_tokens"]
    assert serve["server_info"]["served_model_name"] == prefix["server_info"]["served_model_name"]


def test_ctrl_c_prints_what_was_measured(server: LiveServer) -> None:
    words = f"latency --url {server.url} --requests 1000 --input-tokens 4 --output-tokens 8".split()
    before = server.gauge("generation_tokens_total")
    process = subprocess.Popen([sys.executable, "-m", "stemma", "bench", *words], stdout=subprocess.PIPE, text=True)
    while server.gauge("generation_tokens_total") < before + 40:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    (row,) = [line for line in out.splitlines() if line.startswith("Successful requests:")]
    assert 0 < int(row.split()[-1]) < 1000
    server.wait_until_idle()


def test_the_arena_lets_engines_take_turns(folder: Path, server: LiveServer) -> None:
    words = f"--models {folder} --rounds 2 --quick --workloads serve".split()
    command = [sys.executable, "-m", "benchmarks.arena", "--engines", f"a={server.url}", f"b={server.url}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    played = [line for line in lines if line["bench"] == "arena"]
    assert [(line["engine"], line["round"]) for line in played] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert all(line["is_valid"] and line["completed"] == 4 for line in played)
    assert "W2 and W4" in done.stdout
