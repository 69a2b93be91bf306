"""Programs of the language on a real engine: in this process, and through a server's door."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
import psutil
import pytest

import stemma as sgl
from stemma.front.lang.errors import ProgramError
from stemma.front.lang.program import backend_of
from stemma.front.lang.state import ProgramState
from tests.checkpoints import tiny_checkpoint

OPTIONS: dict[str, Any] = {"max_total_tokens": 8192, "context_length": 2048, "threads": 1}
METHODS = {
    "by_length": sgl.token_length_normalized,
    "by_token": sgl.greedy_token_selection,
    "by_gain": sgl.unconditional_likelihood_normalized,
}
CHOICES = ("a", "b c", "dd", "e")
LONG = "A shared beginning that is long enough to fill several pages. " * 4

KEY = "secret"
Places = tuple[sgl.Engine, sgl.Runtime]
OpenAIs = Callable[..., sgl.OpenAI]


@pytest.fixture
def openai(places: Places) -> Iterator[OpenAIs]:
    """Makes backends on the server of `places`; their connections are closed with the test."""
    made: list[sgl.OpenAI] = []

    def make(**options: Any) -> sgl.OpenAI:
        made.append(sgl.OpenAI("default", base_url=f"{places[1].url}/v1", api_key=KEY, **options))
        return made[-1]

    yield make
    for backend in made:
        backend.shutdown()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)
    server = sgl.Runtime(model_path=str(folder), api_key=KEY, **OPTIONS)
    try:
        with sgl.Engine(model_path=str(folder), **OPTIONS) as engine:
            yield engine, server
    finally:
        server.shutdown()


@sgl.function
def everything(s: Any, topic: str) -> None:
    s += sgl.system("Be short.")
    s += sgl.user("About " + topic)
    s += sgl.assistant(
        sgl.gen("first", max_tokens=8, min_tokens=4, stop="\x00") + " and " + sgl.gen("second", max_tokens=4)
    )
    with s.user():
        s += "Which?"
    s += sgl.assistant_begin()
    for name, method in METHODS.items():
        s += sgl.select(name, CHOICES, choices_method=method)
    s += sgl.assistant_end()
    forks = s.fork(3)
    forks += lambda index: f"Tip {index}:" + sgl.gen("tip", max_tokens=6)
    forks.join()
    with s.var_scope("scope"):
        s += "End:" + sgl.gen("many", max_tokens=3, n=2)
    s += sgl.gen("scored", max_tokens=3, return_logprob=True, top_logprobs_num=2, ignore_eos=True)


NAMES = ("first", "second", "tip", "scope", "many", "scored", *METHODS)


def found(state: ProgramState) -> dict[str, Any]:
    """All that must not depend on where the program ran."""
    assert state.error() is None
    scores = [state.get_meta_info(name)["normalized_prompt_logprobs"] for name in METHODS]
    logprobs = state.get_meta_info("scored")["output_token_logprobs"]
    return {
        "text": state.text(),
        "messages": state.messages(),
        "scores": scores,
        "logprobs": [[*entry] for entry in logprobs],
        **{name: state[name] for name in NAMES},
    }


def test_a_program_is_the_same_in_process_and_over_http(places: Places) -> None:
    engine, server = places
    at_once = found(everything.run("rivers", backend=engine, temperature=0))
    assert at_once == found(everything.run("rivers", backend=server, temperature=0))
    streamed = everything.run("rivers", backend=server, temperature=0, stream=True)
    assert "".join(streamed.text_iter()) == at_once["text"] and found(streamed) == at_once
    local = everything.run("rivers", backend=engine, temperature=0, stream=True)
    assert "".join(local.text_iter("second")) == at_once["second"] and found(local) == at_once
    assert len(at_once["tip"]) == 3 and len(at_once["many"]) == 2 and len(at_once["logprobs"]) == 3
    assert all(at_once[name] in CHOICES for name in METHODS)


def test_select_agrees_with_scores_of_whole_texts(places: Places) -> None:
    """The oracle scores each text alone and from its beginning."""
    engine, _ = places

    @sgl.function
    def program(s: Any) -> None:
        s += LONG + sgl.select("best", CHOICES)

    state = program.run(backend=engine)
    start = len(engine.encode(LONG))
    means = []
    for choice in CHOICES:
        answer = engine.generate(LONG + choice, {"max_new_tokens": 0}, return_logprob=True, logprob_start_len=0)
        own = [entry[0] for entry in answer["meta_info"]["input_token_logprobs"][start:]]
        means.append(sum(own) / len(own))
    assert state.get_meta_info("best")["normalized_prompt_logprobs"] == pytest.approx(means)
    assert state["best"] == CHOICES[means.index(max(means))]


def test_a_fork_shares_wherever_it_runs(places: Places) -> None:
    """Counted by the device; branches over HTTP come one by one."""
    beginning, own, branches = len(LONG), len("0:") + 4 - 1, 4

    @sgl.function
    def forks(s: Any) -> None:
        s += LONG
        children = s.fork(branches)
        children += lambda index: f"{index}:" + sgl.gen("x", max_tokens=4, ignore_eos=True)
        children.join()

    def computed(backend: object) -> int:
        info: Any = sgl.get_server_info(backend)
        return int(info["internal_states"][0]["computed_tokens"])

    for backend in places:
        assert sgl.flush_cache(backend)
        before = computed(backend)
        assert forks.run(backend=backend).error() is None
        assert computed(backend) - before == beginning + branches * own


def test_what_is_generated_has_the_form_that_was_asked_for(places: Places) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"enum": [1, "b"]}}, "required": ["a"]}

    @sgl.function
    def typed(s: Any) -> None:
        s += (
            "1 + 1 ="
            + sgl.gen_int("int", max_tokens=40)
            + sgl.gen("bool", dtype=bool)
            + sgl.gen("float", 40, dtype="float")
        )
        s += sgl.gen_string("string", max_tokens=40) + sgl.gen("pattern", regex="[a-c]{2}|é+!", max_tokens=40)
        s += sgl.gen("object", json_schema=schema, max_tokens=60)

    forms = {
        "int": "[-+]?[0-9]+",
        "bool": "True|False",
        "float": r"[-+]?[0-9]*\.?[0-9]+",
        "string": '"[^"]*"',
        "pattern": "[a-c]{2}|é+!",
        "object": r'\{\s*"a"\s*:\s*(1|"b")\s*[,}].*',
    }
    engine, server = places
    for backend in (engine, server):
        state = typed.run(backend=backend, temperature=1.5)
        assert state.error() is None
        ended = [name for name in forms if state.get_meta_info(name)["finish_reason"]["type"] == "stop"]
        assert "bool" in ended
        for name in ended:
            assert re.fullmatch(forms[name], state[name], re.DOTALL), (name, state[name])


class Reply(msgspec.Struct):
    name: str
    size: Literal["small", "large"]


def test_what_is_generated_is_a_value_of_its_type(places: Places, openai: OpenAIs) -> None:
    engine, server = places

    @sgl.function
    def typed(s: Any) -> None:
        s += sgl.user("Which?")
        s += sgl.assistant(sgl.gen("word", schema=Literal["yes", "no"], max_tokens=20))
        s += sgl.assistant(sgl.gen("cut", schema=Reply, max_tokens=3))

    for backend in (engine, server, openai()):
        for stream in (False, True):
            state = typed.run(backend=backend, temperature=1.5, stream=stream)
            assert state["word"] in ("yes", "no")
            with pytest.raises(ProgramError, match=r"test_language.py:\d+: Unreadable: .*cut off; raise max_tokens"):
                state["cut"]


def test_asynchronous_programs_share_an_engine(places: Places) -> None:
    @sgl.function
    async def program(s: Any, number: int) -> Any:
        s += LONG + f"{number}:" + sgl.gen("x", max_tokens=4)
        s += "|" + sgl.gen("y", max_tokens=4)
        return await s["x"], await s["y"]

    @sgl.function
    def alone(s: Any, number: int) -> Any:
        s += LONG + f"{number}:" + sgl.gen("x", max_tokens=4)
        s += "|" + sgl.gen("y", max_tokens=4)
        return s["x"], s["y"]

    async def everything(backend: object) -> list[Any]:
        runs = [program.run(number, backend=backend, temperature=0) for number in range(40)]
        return [state.ret_value for state in await asyncio.gather(*runs)]

    expected = [alone.run(number, backend=places[0], temperature=0).ret_value for number in range(40)]
    for backend in places:
        assert asyncio.run(everything(backend)) == expected
    assert backend_of(places[0]) is backend_of(places[0])  # one, whose threads are bounded


def test_a_cancelled_program_ends_its_request(places: Places) -> None:
    @sgl.function
    async def program(s: Any) -> None:
        s += "Once" + sgl.gen("x", max_tokens=1500, ignore_eos=True)
        await s["x"]

    async def cancelled(backend: Any) -> None:
        tasks = [asyncio.create_task(program.run(backend=backend)) for _ in range(3)]
        streams = await program.run(backend=backend, stream=True)
        async for _ in streams.text_async_iter("x"):
            break  # it has begun
        for task in tasks:
            task.cancel()
        await streams.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in ended] == [asyncio.CancelledError] * 3
        assert len(await streams.text()) < 1500
        while not await asyncio.to_thread(sgl.flush_cache, backend):  # which an engine that is busy refuses
            await asyncio.sleep(0.01)

    for backend in places:
        asyncio.run(asyncio.wait_for(cancelled(backend), 20))


def test_images_are_refused_by_models_that_do_not_see(places: Places, openai: OpenAIs) -> None:
    """Before anything is computed, and with the field's name: at every door of ours."""
    engine, server = places

    @sgl.function
    def sees(s: Any) -> None:
        s += sgl.user(sgl.image(b"\xff\xd8\xff\xe0") + "What is it?")
        s += sgl.assistant(sgl.gen("x"))

    for backend, told in ((engine, "image_data"), (server, "image_data"), (openai(), "image_url")):
        with pytest.raises(ProgramError, match=rf"test_language.py:\d+: .*{told}"):
            sees.run(backend=backend)["x"]


def test_an_engine_certifies(places: Places) -> None:
    engine, _ = places
    sampling = {"regex": "(yes|no)", "temperature": 1.5}
    whole = engine.generate("Is it?", sampling, certificate=True)
    *_, last = engine.generate("Is it?", sampling, certificate=True, stream=True)
    for answer in (whole, last):
        assert answer["text"] in ("yes", "no")
        assert answer["meta_info"]["certificate"]["verdict"] == "valid"
        assert set(answer["meta_info"]["certificate"]["sha256"]) == {"regex"}


def test_what_the_engine_refuses_reaches_the_reader(places: Places) -> None:
    engine, server = places

    @sgl.function
    def hot(s: Any) -> None:
        s += "1 + 1 =" + sgl.gen("x", temperature=-1)

    for backend in (engine, server):
        with pytest.raises(ProgramError, match=r"test_language.py:\d+: .*temperature"):
            hot.run(backend=backend)["x"]


def test_a_runtime_speaks_for_itself(places: Places) -> None:
    engine, server = places
    greedy: dict[str, object] = {"temperature": 0, "max_new_tokens": 6}

    async def streamed() -> str:
        return "".join([text async for text in server.async_generate("Once", greedy)])

    expected = engine.generate("Once", greedy)["text"]
    assert json.loads(server.generate("Once", greedy))["text"] == expected == asyncio.run(streamed())
    scored = json.loads(server.generate("Once", greedy, True, 0, top_logprobs_num=2))["meta_info"]
    assert len(scored["input_token_logprobs"]) == len(engine.encode("Once")) and scored["output_top_logprobs"]
    tokenizer = server.get_tokenizer()
    assert tokenizer.encode(LONG) == engine.encode(LONG) and tokenizer.decode(engine.encode("Once")) == "Once"
    for refused, told in ((lambda: server.encode("Once"), "/encode"), (server.start_profile, "/start_profile")):
        with pytest.raises(RuntimeError, match=told):
            refused()
    assert asyncio.run(server.get_server_info())["context_length"] == OPTIONS["context_length"]
    with pytest.raises(RuntimeError, match="Unauthorized"):
        sgl.RuntimeEndpoint(server.url)


def test_the_openai_backend_speaks_to_our_server(places: Places, openai: OpenAIs) -> None:
    @sgl.function
    def chat(s: Any) -> None:
        s += sgl.user("Hi")
        s += sgl.assistant(sgl.gen("x", max_tokens=6))
        s += sgl.user("Again")
        s += sgl.assistant(sgl.gen("y", max_tokens=6))

    @sgl.function
    def broken(s: Any) -> None:
        s += sgl.user("Hi") + sgl.assistant("Well, " + sgl.gen("x"))

    backend = openai()
    state = chat.run(backend=backend, temperature=0)
    streamed = chat.run(backend=backend, temperature=0, stream=True)
    assert "".join(streamed.text_iter("y")) == state["y"] and streamed.messages() == state.messages()
    assert [message["role"] for message in state.messages()] == ["user", "assistant"] * 2
    assert 0 < backend.token_usage.completion_tokens <= 24
    with pytest.raises(ProgramError, match="whole turns"):
        broken.run(backend=backend)["x"]

    @sgl.function
    def plain(s: Any) -> None:
        s += "Once" + sgl.gen("x", max_tokens=6)

    completions = openai(is_chat_model=False)
    assert plain.run(backend=completions, temperature=0)["x"] == plain.run(backend=places[0], temperature=0)["x"]

    @sgl.function
    def formed(s: Any) -> None:
        s += LONG + sgl.select("best", CHOICES) + sgl.select("by_token", CHOICES, choices_method=METHODS["by_token"])
        s += sgl.gen("pattern", regex="[a-c]{2}") + sgl.gen("bool", dtype=bool)

    through, direct = (formed.run(backend=place, temperature=0) for place in (completions, places[0]))
    assert through.text() == direct.text()
    for name in ("best", "by_token"):
        means, expected = (state.get_meta_info(name)["normalized_prompt_logprobs"] for state in (through, direct))
        assert means == pytest.approx(expected, abs=1e-5)


@sgl.function
def endless(s: Any) -> None:
    s += "Once" + sgl.gen("x", max_tokens=1500, ignore_eos=True)
    s += sgl.gen("y")


def test_a_server_that_dies_hangs_nobody(places: Places) -> None:
    """It kills the server: no test after it may need that."""
    _, server = places
    streams = endless.run(backend=server, stream=True)
    waits = endless.run(backend=sgl.RuntimeEndpoint(server.url, KEY))
    growing = streams.text_iter("x")
    next(growing)
    for process in (*psutil.Process(server.pid).children(), psutil.Process(server.pid)):
        process.kill()
    with pytest.raises(ProgramError):
        list(growing)
    with pytest.raises(ProgramError):
        waits["y"]
    with pytest.raises(ProgramError, match="is the server running"):
        endless.run(backend=server)["x"]


def test_an_engine_that_is_shut_down_hangs_nobody(places: Places) -> None:
    """It ends the engine: the last test."""
    engine, _ = places
    streams, waits = endless.run(backend=engine, stream=True), endless.run(backend=engine)
    growing = streams.text_iter("x")
    next(growing)
    engine.shutdown()
    with pytest.raises(ProgramError):
        list(growing)
    for state in (waits, endless.run(backend=engine)):
        with pytest.raises(ProgramError, match="shut down"):
            state["y"]
