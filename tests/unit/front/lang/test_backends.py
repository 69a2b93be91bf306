"""Backends of other makers: what their official clients send, and how what comes back is read."""

import importlib.util
from typing import Any

import pytest

import stemma as sgl
from stemma.core.base.errors import ConfigError
from stemma.front.lang import executor
from stemma.front.lang.errors import BackendError, Misuse, ProgramError
from stemma.front.lang.sampling import Sampling
from stemma.front.lang.state import ProgramState
from tests.unit.front.lang.listening import Events, Json, Listening, Refusal, listening

PNG = b"\x89PNG\r\n\x1a\nnot a real one"
CODED = "iVBORw0KGgpub3QgYSByZWFsIG9uZQ=="
pytestmark = pytest.mark.filterwarnings("ignore:Item 'summary' on TypedDict")  # pydantic's, of litellm's own types
needs_litellm = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None,
    reason="litellm is not installed: pip install 'stemma-llm[litellm]' (it wants an older openai)",
)


@sgl.function
def chat(s: Any) -> None:
    s += sgl.system("Be short.")
    s += sgl.user("Hi")
    s += sgl.assistant(sgl.gen("x", max_tokens=9, stop=["\n", "END"]))
    s += sgl.user("Again")
    s += sgl.assistant(sgl.gen("y"))


@sgl.function
def sees(s: Any) -> None:
    s += sgl.user(sgl.image(PNG) + "What is it?")
    s += sgl.assistant(sgl.gen("x"))


def claude(path: str, body: Json) -> Any:
    assert path == "/v1/messages"
    message = {
        "id": "m1", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None,
        "stop_reason": None, "content": [], "usage": {"input_tokens": 5, "output_tokens": 1},
    }  # fmt: skip
    if not body.get("stream"):
        return {**message, "content": [{"type": "text", "text": "Hello"}], "stop_reason": "max_tokens"}
    texts = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
             for text in ("Hel", "lo")]  # fmt: skip
    events: list[Json] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *texts,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return Events([(event["type"], event) for event in events])


def chatted(path: str, body: Json) -> Any:
    assert path.endswith("/chat/completions")
    whole = {"id": "c1", "created": 1, "model": body["model"]}
    if body.get("stream"):
        deltas: list[tuple[Json, str | None]] = [
            ({"role": "assistant", "content": "Hel"}, None),
            ({"content": "lo"}, "stop"),
        ]
        return Events([
            ("", {**whole, "object": "chat.completion.chunk",
                  "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
            for delta, reason in deltas
        ])  # fmt: skip
    choices = [
        {"index": at, "message": {"role": "assistant", "content": f"Hello{at or ''}"}, "finish_reason": "stop"}
        for at in range(body.get("n") or 1)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    return {**whole, "object": "chat.completion", "choices": choices, "usage": usage}


def anthropic_at(server: Listening) -> Any:
    return sgl.Anthropic("claude-x", base_url=server.url, api_key="k", max_retries=0)


def litellm_at(server: Listening) -> Any:
    headers = {"x-told": "by LiteLLM"}
    return sgl.LiteLLM(
        "openai/some-model", base_url=f"{server.url}/v1", api_key="k", max_retries=0, default_headers=headers
    )


def test_claude_is_sent_messages_with_the_system_beside_them() -> None:
    with listening(claude) as server:
        state = chat.run(backend=anthropic_at(server), temperature=0.5, top_k=7)
        assert state["y"] == "Hello" and state.error() is None
        meta = {"id": "m1", "finish_reason": "length", "prompt_tokens": 5, "completion_tokens": 1}
        assert state.get_meta_info("x") == meta
        (_, headers, first), (_, _, second) = server.asked
    assert "k" in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer "))
    assert first == {
        "model": "claude-x", "system": "Be short.", "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9, "stop_sequences": ["\n", "END"], "temperature": 0.5, "top_k": 7,
    }  # fmt: skip
    assert second["max_tokens"] == 128 and "stop_sequences" not in second
    assert second["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Again"},
    ]


@needs_litellm
def test_litellm_is_sent_what_was_asked_for() -> None:
    with listening(chatted) as server:
        state = chat.run(backend=litellm_at(server), temperature=0.5, presence_penalty=0.25)
        assert state["y"] == "Hello" and state.error() is None
        assert state.get_meta_info("x") == {"id": "c1", "finish_reason": "stop"}
        (path, headers, first), _ = server.asked
    assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer k"
    assert headers["x-told"] == "by LiteLLM"
    assert first == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 9, "stop": ["\n", "END"], "temperature": 0.5, "presence_penalty": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "answer"), [(anthropic_at, claude), pytest.param(litellm_at, chatted, marks=needs_litellm)]
)
def test_streams_errors_and_turns(make: Any, answer: Any) -> None:
    @sgl.function
    def begun(s: Any) -> None:
        s += sgl.user("Hi") + sgl.assistant("Well, " + sgl.gen("x"))

    @sgl.function
    def plain(s: Any) -> None:
        s += "Hi" + sgl.gen("x")

    @sgl.function
    def formed(s: Any) -> None:
        s += "Hi" + sgl.gen("x", regex="a+")

    def refuses(path: str, body: Json) -> Any:
        return Refusal({"error": {"type": "invalid_request_error", "message": "no such model"}})

    with listening(answer) as server:
        streamed = chat.run(backend=make(server), stream=True)
        assert "".join(streamed.text_iter("x")) == "Hello" == streamed["y"]
        assert plain.run(backend=make(server))["x"] == "Hello"
        assert server.asked[-1][2]["messages"] == [{"role": "user", "content": "Hi"}]
        for program, told in ((begun, "whole turns"), (formed, "regex cannot be asked")):
            with pytest.raises(ProgramError, match=rf"test_backends.py:\d+: BackendError: .*{told}"):
                program.run(backend=make(server))["x"]
        server.answer = refuses
        with pytest.raises(ProgramError, match=r"test_backends.py:\d+: .*no such model"):
            plain.run(backend=make(server))["x"]
    with pytest.raises(ProgramError):  # nobody listens any more
        plain.run(backend=make(server))["x"]


def test_images_are_sent_as_each_api_wants_them() -> None:
    text = {"type": "text", "text": "<image>What is it?"}
    with listening(claude) as server:
        assert sees.run(backend=anthropic_at(server))["x"] == "Hello"
        source = {"type": "base64", "media_type": "image/png", "data": CODED}
        assert server.body()["messages"] == [{"role": "user", "content": [text, {"type": "image", "source": source}]}]
    with listening(chatted) as server:
        state = sees.run(backend=sgl.OpenAI("gpt", base_url=f"{server.url}/v1", api_key="k"))
        assert state["x"] == "Hello"
        url = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{CODED}"}}
        assert server.body()["messages"] == [{"role": "user", "content": [text, url]}]
        assert state.messages()[0]["content"] == [text, url]


def test_a_video_goes_to_native_servers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "encoded_video", lambda path, num_frames: f"video:{path}{num_frames}")

    @sgl.function
    def watches(s: Any) -> None:
        s += sgl.user(sgl.video("film", 3) + "What happens?")
        s += sgl.assistant(sgl.gen("x"))

    with listening(native) as server:
        assert watches.run(backend=sgl.RuntimeEndpoint(server.url))["x"] == "it"
        assert server.asked[-1][2]["image_data"] == "video:film3"
    with listening(claude) as server:
        for backend in (anthropic_at(server), openai_at(server, True)):
            with pytest.raises(ProgramError, match="cannot show a video"):
                watches.run(backend=backend)["x"]
        assert not server.asked


@needs_litellm
def test_litellm_passes_images_on() -> None:
    with listening(chatted) as server:
        assert sees.run(backend=litellm_at(server))["x"] == "Hello"
        url = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{CODED}"}}
        assert url in server.body()["messages"][0]["content"]


def native(path: str, body: Json) -> Any:
    if path == "/get_model_info":
        return {"model_path": "Qwen/Qwen2-VL-7B-Instruct"}
    many = body["text"] if isinstance(body["text"], list) else [body["text"]]
    entries = [[-1.0, 7, "a"]] * 3
    answers = [
        {"text": "it", "meta_info": {"prompt_tokens": 3, "input_token_logprobs": entries, "output_token_logprobs": []}}
        for _ in many
    ]
    return answers if isinstance(body["text"], list) else answers[0]


def test_native_servers_get_image_data() -> None:
    @sgl.function
    def all_ways(s: Any) -> None:
        s += sgl.user(sgl.image(PNG) + "What is it?") + sgl.assistant_begin()
        forks = s.fork(2)
        forks += sgl.gen("x") + sgl.select("y", ["a", "b"])
        forks.join()

    with listening(native) as server:
        state = all_ways.run(backend=sgl.RuntimeEndpoint(server.url))
        assert state["x"] == ["it", "it"]
        bodies = [body for path, _, body in server.asked if path == "/generate"]
    assert len(bodies) >= 7 and {body["image_data"] for body in bodies} == {CODED}
    asked = (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert bodies[0]["text"].endswith(asked)


@pytest.mark.parametrize("show", [lambda: sgl.image("/no/such/file"), lambda: sgl.image(3)])
def test_what_is_no_image_is_told_with_its_line(show: Any) -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += sgl.user(show())

    with listening(native) as server:
        backend = sgl.RuntimeEndpoint(server.url)
        assert isinstance(program.run(backend=backend).error(), FileNotFoundError | Misuse)

        @sgl.function
        def two(s: Any) -> None:
            s += sgl.image(PNG) + sgl.image(PNG) + sgl.gen("x")

        with pytest.raises(ProgramError, match="one image"):
            two.run(backend=backend)["x"]


def openai_at(server: Listening, is_chat: bool) -> Any:
    return sgl.OpenAI("some-model", is_chat, base_url=f"{server.url}/v1", api_key="k", max_retries=0)


def completed(text: str) -> Any:
    def answer(path: str, body: Json) -> Json:
        assert path == "/v1/completions"
        return {"id": "c", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}  # fmt: skip

    return answer


def test_forms_are_asked_of_servers_that_take_them_and_checked() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "1 + 1 =" + sgl.gen_int("x")

    with listening(completed("42")) as server:
        assert program.run(backend=openai_at(server, False))["x"] == "42"
        body = server.body()
        assert body["regex"] == r"[-+]?[0-9]+[ \n]*" and body["stop"] == [" ", "\n"] and body["prompt"] == "1 + 1 ="
        server.answer = completed("many")
        with pytest.raises(ProgramError, match="did not hold its answer"):
            program.run(backend=openai_at(server, False))["x"]


def scores(extra: list[int], length: list[bool]) -> Any:
    """Echoes `ab`, `abyes`, `abno`, a token for each letter, and after them some more tokens."""

    def answer(path: str, body: Json) -> Json:
        assert (body["echo"], body["max_tokens"], body["prompt"]) == (True, 1, ["ab", "abyes", "abno"])
        choices = [
            {"index": at, "text": prompt, "finish_reason": "length" if length[at] else "stop",
             "logprobs": {"tokens": [*prompt, *"?" * extra[at]],
                          "token_logprobs": [None, *(-ord(each) / 100 for each in prompt[1:]), *[-9.0] * extra[at]]}}
            for at, prompt in enumerate(body["prompt"])
        ]  # fmt: skip
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": usage}

    return answer


def judged(server: Listening, method: Any) -> ProgramState:
    @sgl.function
    def judge(s: Any) -> None:
        s += "ab" + sgl.select("x", ["yes", "no"], choices_method=method)

    return judge.run(backend=openai_at(server, False))


@pytest.mark.parametrize(
    ("extra", "length"), [([1, 1, 1], [True] * 3), ([1, 1, 1], [True, False, True]), ([1, 0, 1], [True, False, True])]
)
def test_openai_selects_by_echoed_prompts(extra: list[int], length: list[bool]) -> None:
    with listening(scores(extra, length)) as server:
        for method, best in ((sgl.token_length_normalized, "no"), (sgl.greedy_token_selection, "no")):
            state = judged(server, method)
            assert state["x"] == best and state.text() == "ab" + best
            means = [-sum(map(ord, word)) / len(word) / 100 for word in ("yes", "no")]
            assert state.get_meta_info("x")["normalized_prompt_logprobs"] == pytest.approx(means)
        with pytest.raises(ProgramError, match="no token ids"):
            judged(server, sgl.unconditional_likelihood_normalized)["x"]
        server.answer = scores([3, 0, 1], length)
        with pytest.raises(ProgramError, match="does it echo"):
            judged(server, sgl.token_length_normalized)["x"]


def test_sampling_that_an_api_lacks_is_left_out_aloud() -> None:
    with pytest.warns(UserWarning, match="OpenAI has no top_k, min_p: left out"):
        assert "top_k" not in Sampling(top_k=3, min_p=0.5).openai("max_tokens")
    with pytest.warns(UserWarning, match="Anthropic has no frequency_penalty"):
        Sampling(frequency_penalty=0.5).anthropic()
    with pytest.raises(BackendError, match="n=2"), listening(claude) as server:
        anthropic_at(server).generate(None, Sampling(n=2))


def test_crusoe_is_openai_with_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUSOE_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="CRUSOE_API_KEY"):
        sgl.Crusoe("m")
    monkeypatch.setenv("CRUSOE_API_KEY", "secret")
    with listening(chatted) as server:
        assert chat.run(backend=sgl.Crusoe("m", base_url=f"{server.url}/v1"))["y"] == "Hello"
        assert server.asked[0][1]["authorization"] == "Bearer secret"
