"""The whole house, through its front door."""

import concurrent.futures
import signal
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.checkpoints import tiny_checkpoint
from tests.live_server import LiveServer, events, live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "Qwen3ForCausalLM", max_position_embeddings=32768)
    with live_server(folder, folder / "log", "--max-total-tokens", "16k", "--chunked-prefill-size", "64") as running:
        yield running


def endless(server: LiveServer, text: str = "Once") -> dict[str, object]:
    return {"text": text, "stream": True, "sampling_params": {"max_new_tokens": 8000, "ignore_eos": True}}


def test_the_openai_client_streams_a_chat(server: LiveServer) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    stream = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=8,
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens <= 8
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("length", "stop")


def test_the_same_request_gets_the_same_bytes_alone_and_in_a_crowd(server: LiveServer) -> None:
    def ask(_: int) -> object:
        return server.generate("The same", temperature=0.8, sampling_seed=5, max_new_tokens=24)["output_ids"]

    alone = ask(0)
    with concurrent.futures.ThreadPoolExecutor(8) as crowd:
        assert list(crowd.map(ask, range(16))) == [alone] * 16
    server.wait_until_idle()


def test_a_client_that_leaves_frees_its_pages(server: LiveServer) -> None:
    with server.http.stream("POST", "/generate", json=endless(server)) as answer:
        stream = events(answer.iter_lines())
        next(stream)  # it is kept: a reader that is forgotten closes the connection
        assert server.gauge("num_running_reqs") == 1
    server.wait_until_idle()


def test_a_client_that_leaves_without_streaming_frees_its_pages(server: LiveServer) -> None:
    body = endless(server) | {"stream": False}
    with pytest.raises(httpx.ReadTimeout):
        server.http.post("/generate", json=body, timeout=0.5)
    server.wait_until_idle()


def test_abort_by_id_ends_a_stream(server: LiveServer) -> None:
    with server.http.stream("POST", "/generate", json=endless(server) | {"rid": "mine"}) as answer:
        stream = events(answer.iter_lines())
        next(stream)
        assert httpx.post(f"{server.url}/abort_request", json={"rid": "mine"}).status_code == 200
        last = list(stream)[-1]
    assert last["meta_info"]["finish_reason"]["type"] == "abort"  # type: ignore[index]  # JSON
    server.wait_until_idle()


def test_a_body_of_100_megabytes_is_refused(server: LiveServer) -> None:
    answer = server.http.post("/generate", json={"text": "x" * 100_000_000})
    assert answer.status_code in (400, 413)
    assert server.generate("still here", max_new_tokens=1)


def test_waiting_costs_nothing(server: LiveServer) -> None:
    server.wait_until_idle()
    processes = [server.engine(), __import__("psutil").Process(server.process.pid)]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(3)
    used = sum(sum(process.cpu_times()[:2]) for process in processes) - sum(before)
    assert used < 0.03 + 0.01, f"{used:.3f} s of processor time in 3 s"


def test_the_engine_may_be_killed(server: LiveServer) -> None:
    """Each stream ends with one error; the next engine answers with the same bytes."""
    before = server.generate("Again", temperature=0, max_new_tokens=8)["output_ids"]
    with server.http.stream("POST", "/generate", json=endless(server)) as answer:
        stream = events(answer.iter_lines())
        next(stream)
        server.engine().send_signal(signal.SIGKILL)
        errors = [event for event in stream if "error" in event]
    assert len(errors) == 1 and "SIGKILL" in str(errors[0])
    assert server.http.get("/health").status_code == 503
    server.wait_ready()
    assert server.generate("Again", temperature=0, max_new_tokens=8)["output_ids"] == before
