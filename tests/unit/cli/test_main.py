"""The command itself: fast, free of torch, one line for every error."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from stemma.cli.main import main

COMMANDS = ("serve", "chat", "generate", "bench", "plan", "doctor")
HELP_SECONDS = 0.3
BUSY = 3  # a machine that also runs other tests is slower


def stemma(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stemma", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_comes_at_once() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert stemma("--help").returncode == 0
        return time.perf_counter() - began

    assert median(seconds() for _ in range(3)) < BUSY * HELP_SECONDS


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        page = capsys.readouterr().out
        assert all(f"\n  {command} " in page for command in (*COMMANDS, "version"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_of_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert page.startswith(f"usage: stemma {command} ")
    assert "--max-running-requests" in page


@pytest.mark.parametrize("words", [(), ("serve",), ("plan",), ("generate",), ("chat",)])
def test_no_help_imports_torch_or_the_server(words: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from stemma.cli.main import main\n"
        "try: main([*sys.argv[1:], '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'starlette', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["fly"], 2, "no command 'fly'"),
        (["version", "x"], 2, "no place for x"),
        (["serve", "--port", "0"], 2, "argument --port: 0 is out of range"),
        (["serve", "--tp-size", "2"], 2, "no option --tp-size"),
        (["generate"], 2, "PROMPT"),
        (["generate", "x", "--temperature", "-1"], 2, "temperature"),
        (
            ["generate", "x", "--max-new-tokens", "many"],
            2,
            "--max-new-tokens: Expected `int | null`, got `str`, not 'many'",
        ),
        (["generate", "--top-p", "7", "hi"], 2, "--top-p: Expected `float` <= 1.0, not '7'"),
        (["bench", "latency", "--output", "/no/such/x"], 2, "there is no folder /no/such"),
        (["bench", "latency", "--url", "127.0.0.1:1"], 1, "no server answers at 127.0.0.1:1 (connection refused)"),
        (["plan", "/no/such"], 1, "a model is a folder"),
        (["chat", "--url", "ftp://x"], 2, "is no address of a server"),
        (["chat", "--url", "http://x", "--dtype", "float32"], 2, "the server at --url"),
        (["plan", "/nowhere"], 1, "/nowhere"),
        (["serve", "/nowhere"], 1, "/nowhere"),
        (["plan", "--context-length", "1g"], 2, "--context-length: 1g is out of range"),
        (["plan", "--context-length", "100k"], 2, "exceeds the model's"),
    ],
)
def test_an_error_is_one_line(words: list[str], status: int, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("stemma: error: ")
    assert says in err
    assert err.count("\n") == 1


def test_errors_of_the_process_itself_too() -> None:
    done = stemma("plan", "/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr


def test_version() -> None:
    assert stemma("version").stdout.startswith("stemma 0.")


def test_plan_tells_every_line_of_the_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--max-total-tokens", "1600"]) == 0
    page = capsys.readouterr().out
    for words in ("weights", "KV cache", "runtime", "private in all", "--kv-cache-memory", "1,600 tokens"):
        assert words in " ".join(page.split())


def test_plan_knows_devices_that_are_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--device", "h200", "--max-total-tokens", "1600"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for words in ("of 140.40 GiB usable", "graphs", "row tables", "4.80 TB/s", "by its datasheet", "1,600 tokens"):
        assert words in page


def test_doctor_says_what_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for words in (
        "cores",
        "instructions",
        "huge pages",
        "torch",
        "accelerator",
        "compiler",
        "kernels",
        "as the checkpoint",
        "step tokens",
    ):
        assert words in page
    assert main(["doctor", str(tmp_path)]) == 1
    assert "cannot be served: " in capsys.readouterr().out
