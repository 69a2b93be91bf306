"""Whatever a client sends, the server says what is wrong with it, and goes on with all its pages."""

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoints import tiny_checkpoint
from tests.live_server import LiveServer, live_server

ROUTES = (
    "/generate",
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/abort_request",
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-1, 0, 1, 2**31, 2**63, 5_000_000]),
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
SAMPLING = (
    "max_new_tokens min_new_tokens temperature top_p top_k min_p presence_penalty frequency_penalty "
    "repetition_penalty logit_bias stop stop_token_ids stop_regex ignore_eos skip_special_tokens no_stop_trim "
    "sampling_seed n"
).split()
FIELDS = (
    "text input_ids prompt messages tokens model rid n max_tokens max_completion_tokens logprobs top_logprobs "
    "return_logprob logprob_start_len top_logprobs_num token_ids_logprob stop seed stop_token_ids stop_regex "
    "temperature top_p top_k min_p echo best_of logit_bias stream_options priority cache_salt response_format tools "
    "tool_choice parallel_tool_calls separate_reasoning stream_reasoning"
).split()
BODIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FIELDS, ANYTHING),
        "sampling_params": st.dictionaries(st.sampled_from(SAMPLING), ANYTHING, max_size=4),
    },
)
# Mostly right, wrong in one place: these come further in than pure noise.
NEARLY = st.fixed_dictionaries(
    {"text": st.just("hi"), "prompt": st.just("hi"), "messages": st.just([{"role": "user", "content": "hi"}])},
    optional={name: ANYTHING for name in FIELDS if name not in ("text", "prompt", "messages")},
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "LlamaForCausalLM", max_position_embeddings=256)
    options = ("--max-total-tokens", "4k", "--preferred-sampling-params", '{"max_new_tokens": 2}')
    with live_server(folder, folder / "log", *options) as running:
        yield running
        running.wait_until_idle(30)
        assert running.generate("still here", max_new_tokens=1)
        assert "Traceback" not in running.log.read_text()


@given(route=st.sampled_from(ROUTES), body=st.one_of(BODIES, NEARLY))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_no_body_is_a_500(server: LiveServer, route: str, body: dict[str, object]) -> None:
    brief = {name: 2 for name in ("max_tokens", "max_completion_tokens") if name not in body}
    answer = server.http.post(route, json=body | brief)
    assert answer.status_code in (200, 400), (route, body, answer.status_code, answer.text)
    if answer.status_code == 400:
        assert answer.json()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"{" * 100_000,
     b'{"text":' + b"[" * 50_000, b'{"top_p": NaN}', b'{"text": 1e999}', b'{"a": 1} x', b"\x00" * 1000],
    ids=lambda raw: repr(raw[:12]),
)  # fmt: skip
def test_what_is_no_json_is_a_400(server: LiveServer, route: str, raw: bytes) -> None:
    answer = server.http.post(route, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


WRONG = [
    ("/generate", {"input_ids": [-1]}, "input_ids"),
    ("/generate", {"input_ids": [2**31 - 1]}, "input_ids"),
    ("/generate", {"input_ids": []}, "input_ids"),
    ("/generate", {"text": ""}, "text"),
    ("/generate", {"input_ids": [1] * 300}, "input_ids"),
    ("/generate", {"text": "a", "sampling_params": {"n": 5_000_000}}, "n"),
    ("/generate", {"text": "a", "sampling_params": {"max_new_tokens": 10**9}}, "max_new_tokens"),
    ("/generate", {"text": "a", "sampling_params": {"temprature": 1}}, "temprature"),
    ("/generate", {"text": "a", "sampling_params": {"top_p": "high"}}, "top_p"),
    ("/generate", {"text": "a", "sampling_params": {"stop_regex": "("}}, "stop_regex"),
    ("/generate", {"text": "a", "sampling_params": {"logit_bias": {"999999": 1}}}, "logit_bias"),
    ("/generate", {"text": "a", "return_logprob": True, "top_logprobs_num": 10**6}, "top_logprobs_num"),
    ("/generate", {"text": "a", "return_logprob": True, "logprob_start_len": 50}, "logprob_start_len"),
    ("/v1/chat/completions", {"messages": []}, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "top_logprobs": 10**6}, "top_logprobs"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": -1}, "max_tokens"),
    ("/v1/completions", {"prompt": "a", "n": 0}, "n"),
    ("/v1/completions", {"prompt": [[1], [99999]]}, "prompt"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_an_error_names_its_field(server: LiveServer, route: str, body: dict[str, object], field: str) -> None:
    answer = server.http.post(route, json=body)
    assert answer.status_code == 400, answer.text
    assert field in answer.text


def test_a_client_that_sends_half_a_body_harms_nobody(server: LiveServer) -> None:
    def half() -> Iterator[bytes]:
        yield b'{"text": "'
        raise ConnectionResetError

    with pytest.raises((httpx.HTTPError, ConnectionResetError)):
        server.http.post("/generate", content=half())
    assert server.generate("still here", max_new_tokens=1)
