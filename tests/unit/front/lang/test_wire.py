"""What programs ask of a server, seen by the engine behind it; and what they are told when that dies."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import stemma as sgl
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec
from stemma.core.types.tokens import unpack
from stemma.front.lang.backends.http import RuntimeEndpoint
from stemma.front.lang.errors import BackendError, ProgramError
from stemma.front.lang.sampling import Sampling
from tests.server.harness import TOKENIZER, House, fake_engine, house, on_a_port, says
from tests.unit.front.lang.listening import Json, Refusal, listening

SECONDS = 30.0


def with_server(use: Callable[[RuntimeEndpoint, House], None], answer: str = "Hello there", **engine: Any) -> None:
    """Call `use` in a thread of its own, beside a server over a fake engine."""

    async def both() -> None:
        async with house(fake_engine(says(answer), **engine)) as whole, on_a_port(whole.app) as url:
            backend = await asyncio.to_thread(RuntimeEndpoint, url)
            await asyncio.wait_for(asyncio.to_thread(use, backend, whole), SECONDS)

    asyncio.run(both())


def prompt(request: Request) -> str:
    return "".join(TOKENIZER.text_of(token) for token in unpack(request.tokens))


def test_every_parameter_arrives() -> None:
    given: dict[str, Any] = {
        "stop": ["\n", "END"], "stop_token_ids": [3], "stop_regex": "a+", "temperature": 0.5, "top_p": 0.9, "top_k": 7,
        "min_p": 0.1, "frequency_penalty": 0.2, "presence_penalty": 0.3, "ignore_eos": True,
    }  # fmt: skip

    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x", max_tokens=9, min_tokens=2, return_logprob=True, logprob_start_len=0, **given)

    def use(backend: RuntimeEndpoint, whole: House) -> None:
        assert program.run(backend=backend, max_new_tokens=77).error() is None
        (request,) = whole.requests()
        sampling = request.sampling
        assert (sampling.max_new_tokens, sampling.min_new_tokens) == (9, 2)
        sent = {name: getattr(sampling, name) for name in given}
        assert sent == {**given, "stop": ("\n", "END"), "stop_token_ids": (3,), "stop_regex": ("a+",)}
        assert request.logprobs == LogprobSpec(start=0)

    with_server(use)


def test_what_a_node_does_not_say_the_run_says() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x") + sgl.gen("y", temperature=0.25)

    def use(backend: RuntimeEndpoint, whole: House) -> None:
        state = program.run(backend=backend, temperature=0.75, stop="!")
        assert state.text() == "QHello thereHello there"
        drawn = [(request.sampling.temperature, request.sampling.stop) for request in whole.requests()]
        assert drawn == [(0.75, ("!",)), (0.25, ("!",))]

    with_server(use)


def test_options_are_scored_in_one_batch_behind_the_text() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Is it? " + sgl.select("x", ["yes", "no"], choices_method=sgl.unconditional_likelihood_normalized)

    def use(backend: RuntimeEndpoint, whole: House) -> None:
        assert program.run(backend=backend)["x"] in ("yes", "no")
        *options, _, _ = requests = whole.requests()
        assert len(requests) == 4 and {request.sampling.max_new_tokens for request in requests} == {0}
        start = len("Is it? ") - 1
        assert [request.logprobs for request in options] == [LogprobSpec(start=start)] * 2
        assert [prompt(request) for request in options] == ["Is it? yes", "Is it? no"]

    with_server(use)


def test_what_was_said_is_sent_as_it_was_said() -> None:
    """The engine says letters, of which the tokenizer would make words: the next request holds the letters."""
    the, cat = TOKENIZER.encode(" the"), TOKENIZER.encode(" cat")
    assert len(the) == len(cat) == 1

    @sgl.function
    def program(s: Any) -> None:
        s += "A the" + sgl.gen("x") + " the" + sgl.gen("y", stop="t")
        s += " the" + sgl.gen("z", n=2) + sgl.select("w", ["t", " cat"])

    def use(backend: RuntimeEndpoint, whole: House) -> None:
        state = program.run(backend=backend)
        assert state.error() is None
        first, second, third, _, option, _ = asked = [list(unpack(request.tokens)) for request in whole.requests()]
        assert first == [65, *the]
        assert second == [*first, *b" cat", *the]
        assert third == [*second, *b" ca", *the]
        assert option == [*third, *b" cat", 116]
        assert (
            state.text().startswith("A the cat the ca the cat") and state["y"] == " ca" and state["z"] == [" cat"] * 2
        )
        assert program.run(backend=backend, stream=True).text() == state.text()
        assert [list(unpack(request.tokens)) for request in whole.requests()] == asked * 2

    with_server(use, " cat")


def test_a_server_that_tells_less_is_spoken_to_in_text() -> None:
    """It does not say that it computes beginnings once, and has no door to its tokenizer."""

    def answer(path: str, body: Json) -> object:
        if path == "/get_model_info":
            return {"model_path": "other"}
        meta = {"prompt_tokens": 1, "finish_reason": {"type": "length", "length": 1}}
        return {"text": "x", "output_ids": [7], "meta_info": meta} if path == "/generate" else Refusal({}, 404)

    @sgl.function
    def program(s: Any) -> None:
        s += "A" + sgl.gen("x")
        forks = s.fork(2)
        forks += sgl.gen("y")
        forks.join()

    with listening(answer) as server:
        state = program.run(backend=RuntimeEndpoint(server.url))
        assert state["y"] == ["x", "x"]
        texts = [body["text"] for path, _, body in server.asked if path == "/generate"]
        assert texts == ["A", "Ax", "Ax", "Ax"]  # the second has it computed before the branches start
        assert [path for path, *_ in server.asked].count("/v1/tokenize") == 1


def test_a_stream_that_fails_says_so() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")

    def use(backend: RuntimeEndpoint, whole: House) -> None:
        growing = program.run(backend=backend, stream=True).text_iter("x")
        assert next(growing)
        loop = next(iter(whole.engine.running.values())).get_loop()
        loop.call_soon_threadsafe(whole.service.client.engine_died, "the engine died of a test")
        with pytest.raises(ProgramError, match="died of a test"):
            list(growing)

    with_server(use, "x" * 100, seconds_per_chunk=0.02)


def test_other_doors_of_a_server() -> None:
    def use(backend: RuntimeEndpoint, whole: House) -> None:
        assert sgl.flush_cache(backend)
        found = sgl.get_server_info(backend)
        assert found is not None and found["context_length"] == 512
        backend.cache_prefix("A beginning")
        assert prompt(whole.requests()[-1]) == "A beginning"

    with_server(use)


def test_nobody_at_the_address() -> None:
    with pytest.raises(BackendError, match="is the server running"):
        RuntimeEndpoint("http://127.0.0.1:9")


def test_types_become_patterns() -> None:
    typed = Sampling().overridden({"dtype": int, "stop": "x"}).native()
    assert (typed["regex"], typed["stop"]) == (r"[-+]?[0-9]+[ \n]*", ["x", " ", "\n"])
    assert Sampling(dtype="bool").native()["regex"] == "(True|False)"
    assert Sampling(json_schema={"type": "object"}).native()["json_schema"] == '{"type": "object"}'
    with pytest.raises(RuntimeError, match="dtype"):
        Sampling(dtype="complex").native()
    assert Sampling(max_new_tokens=5).openai("max_tokens")["max_tokens"] == 5
    asked: Any = Sampling(json_schema='{"type": "object"}').openai("max_tokens")["extra_body"]
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(BackendError, match="return_logprob"):
        Sampling(return_logprob=True).openai("max_tokens")
