"""Many clients that mean harm: whoever else asks gets the same bytes, and nothing is left behind."""

import concurrent.futures
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.checkpoints import tiny_checkpoint
from tests.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The server's temporary directory."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def server(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "LlamaForCausalLM", max_position_embeddings=2048)
    with live_server(folder, folder / "log", "--max-total-tokens", "8k") as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def post(path: str, body: object, length: int | None = None) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {length or len(content)}\r\n\r\n".encode() + content


def attacks() -> dict[str, bytes]:
    """What each of many connections says before it is silent."""
    many = {"n": 128, "max_new_tokens": 500, "ignore_eos": True}
    ids = {"input_ids": [1] * 1000, "rid": "same", "sampling_params": many}
    logprobs = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 20, "stream": True}
    chat = {"messages": [{"role": "user", "content": "a"}], "n": 128, "logprobs": True, "top_logprobs": 20}
    return {
        "nothing": b"",
        "half a head": b"POST /generate HTTP/1.1\r\nhost: x\r\na: " + b"b" * 15_000,
        "half a body": post("/generate", {"text": "x" * 100_000}, length=30_000_000),
        "a stream that nobody reads": post("/generate", {"text": "a", "stream": True, "sampling_params": many}),
        "the same id": post("/generate", ids),
        "log-probabilities": post("/generate", {"input_ids": [1] * 1000, "sampling_params": many} | logprobs),
        "chat": post("/v1/chat/completions", chat),
        "pipelined": post("/generate", {"text": "a", "sampling_params": many}) * 20,
        "admin": post("/abort_request", {"rid": "nobody"}) + post("/flush_cache", {}) * 20,
    }


def test_others_are_answered_with_the_same_bytes(server: LiveServer) -> None:
    def ask(_: int) -> object:
        return server.generate("The same", temperature=0.8, sampling_seed=5, max_new_tokens=8, top_k=40)["output_ids"]

    alone = ask(0)
    for name, said in attacks().items():
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        for client in clients:
            client.setblocking(False)
            client.send(said)
        with concurrent.futures.ThreadPoolExecutor(2) as crowd:
            answers = [crowd.submit(ask, at) for at in range(4)]
            concurrent.futures.wait(answers, 1.0)  # some while they are there, the others may have to queue behind them
            for client in clients:
                client.close()
            assert [answer.result() for answer in answers] == [alone] * 4, name
    server.wait_until_idle(30)


def test_a_front_that_is_killed_leaves_nothing(server: LiveServer, temporary: Path) -> None:
    engine = server.engine()
    assert len(list(temporary.glob("stemma-*"))) == 1
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)
    psutil.wait_procs([engine], timeout=10)
    assert not engine.is_running()
    assert list(temporary.glob("stemma-*")) == []
