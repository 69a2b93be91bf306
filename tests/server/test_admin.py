"""Keys, health, what the server tells of itself, and what operators may do."""

import asyncio

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Histogram

from stemma.front.server.metrics import ITL_BUCKETS, LABELS, Gaps
from tests.server.harness import MODEL, fake_engine, house

OPEN = ["/health", "/health_generate", "/ready", "/metrics"]
NORMAL = ["/", "/v1/models", "/model_info", "/get_model_info", "/server_info", "/get_server_info"]
ADMIN = ["/flush_cache"]


@pytest.mark.parametrize(
    ("api_key", "admin_key", "sent", "opens"),
    [
        (None, None, None, OPEN + NORMAL + ADMIN),
        ("k", None, None, OPEN),
        ("k", None, "Bearer k", OPEN + NORMAL + ADMIN),
        ("k", None, "bearer k", OPEN + NORMAL + ADMIN),
        ("k", None, "Bearer x", OPEN),
        ("k", None, "Bearer", OPEN),
        ("k", None, "k", OPEN),
        ("k", None, "Basic k", OPEN),
        (None, "a", None, OPEN + NORMAL),
        (None, "a", "Bearer a", OPEN + NORMAL + ADMIN),
        ("k", "a", "Bearer k", OPEN + NORMAL),
        ("k", "a", "Bearer a", OPEN + ADMIN),
        ("clé", None, "Bearer clé", OPEN + NORMAL + ADMIN),
    ],
)
async def test_who_may_ask_what(api_key: str | None, admin_key: str | None, sent: str | None, opens: list[str]) -> None:
    async with house(api_key=api_key, admin_api_key=admin_key) as h:
        headers = {} if sent is None else {b"authorization": sent.encode()}
        for path in OPEN + NORMAL + ADMIN:
            response = await h.http.get(path, headers=headers)
            assert response.status_code == (200 if path in opens else 401), path
            if path not in opens:
                assert response.json() == {"error": "Unauthorized"}


async def test_keys_are_never_told() -> None:
    async with house(api_key="s3cret", admin_api_key="t0psecret") as h:
        text = (await h.http.get("/server_info", headers={"authorization": "Bearer s3cret"})).text
        assert "s3cret" not in text
        assert "t0psecret" not in text


async def test_before_the_engine_is_ready() -> None:
    engine = fake_engine()
    engine.die()
    async with house(engine, is_ready=False) as h:
        for path in ("/health", "/ready", "/health_generate"):
            assert (await h.http.get(path)).status_code == 503
        for path, body in (("/generate", {"text": "a"}), ("/v1/completions", {"prompt": "a", "stream": True})):
            response = await h.post(path, body)
            assert response.status_code == 503
            assert "retry-after" in response.headers
        assert (await h.http.get("/flush_cache")).status_code == 503
        assert (await h.http.get("/server_info")).json()["status"] == "starting"
        assert (await h.http.get("/metrics")).status_code == 200
        assert (await h.post("/tokenize", {"prompt": "a"})).status_code == 200
        engine.revive()
        await h.service.client.wait_ready()
        assert (await h.http.get("/health")).status_code == 200


async def test_health_is_cheap_and_health_generate_is_not() -> None:
    async with house() as h:
        await h.http.get("/health")
        assert h.requests() == []
        assert (await h.http.get("/health_generate")).status_code == 200
        assert len(h.requests()) == 1


async def test_flush_says_why_not() -> None:
    engine = fake_engine(seconds_per_chunk=5)
    async with house(engine) as h:
        done = await h.http.post("/flush_cache")
        assert (done.status_code, done.text) == (200, "Cache flushed.")
        task = asyncio.create_task(h.post("/generate", {"text": "a"}))
        while not engine.running:
            await asyncio.sleep(0.001)
        assert (await h.http.get("/flush_cache?timeout=0.01")).status_code == 400
        for timeout in ("-1", "x", "nan", "inf", "1e9"):
            response = await h.http.get(f"/flush_cache?timeout={timeout}")
            assert response.status_code == 400
            assert "timeout" in response.json()["error"]["message"]
        assert (await h.post("/abort_request", {"abort_all": True})).status_code == 200
        assert (await task).status_code == 200
        assert (await h.http.get("/flush_cache?timeout=1")).status_code == 200


async def test_what_it_is() -> None:
    async with house() as h:
        model = (await h.http.get("/model_info")).json()
        assert (await h.http.get("/get_model_info")).json() == model
        server = (await h.http.get("/server_info")).json()
        card = (await h.http.get("/v1/models")).json()["data"][0]
    assert (model["served_model_name"], model["model_type"], model["is_generation"]) == (MODEL, "qwen3", True)
    assert (server["page_size"], server["max_total_num_tokens"], server["context_length"]) == (16, 2048, 512)
    assert server["internal_states"][0]["memory_usage"]["token_capacity"] == 16384
    assert (card["id"], card["object"], card["max_model_len"]) == (MODEL, "model", 512)


async def test_tokens_there_and_back() -> None:
    async with house() as h:
        for prefix in ("", "/v1"):
            one = (await h.post(f"{prefix}/tokenize", {"prompt": "hé"})).json()
            assert one == {"tokens": [104, *one["tokens"][1:]], "count": len(one["tokens"]), "max_model_len": 512}
            assert (await h.post(f"{prefix}/detokenize", {"tokens": one["tokens"]})).json() == {"text": "hé"}
        many = (await h.post("/tokenize", {"prompt": ["a", "bc"]})).json()
        assert (many["tokens"], many["count"]) == ([[97], [98, 99]], [1, 2])
        assert (await h.post("/detokenize", {"tokens": many["tokens"]})).json() == {"text": ["a", "bc"]}
        chat = {"messages": [{"role": "user", "content": "hi"}]}
        assert (await h.post("/tokenize", chat)).json()["count"] == 21
        assert (await h.post("/tokenize", chat | {"add_generation_prompt": False})).json()["count"] == 10


async def test_metrics() -> None:
    engine = fake_engine()
    stats = msgspec.structs.replace(
        engine.stats, running=3, waiting=2, pages=100, free_pages=50, cached_pages=10, prompt_tokens=80,
        cached_tokens=20, retractions=7, output_tokens_per_second=12.5,
    )  # fmt: skip
    engine.stats = stats
    async with house(engine) as h:
        await h.post("/generate", {"text": "Hi", "sampling_params": {"max_new_tokens": 5, "n": 2, "ignore_eos": True}})
        await h.post("/generate", {"text": "Hi", "stream": True, "sampling_params": {"max_new_tokens": 1}})
        await h.post("/generate", {"text": ""})
        response = await h.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    series = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    scheduler = f'{{engine_type="unified",model_name="{MODEL}"}}'
    front = f'{{engine_type="unified",is_streaming="%s",model_name="{MODEL}"}}'
    expected = {
        f"num_running_reqs{scheduler}": 3,
        f"num_queue_reqs{scheduler}": 2,
        f"token_usage{scheduler}": 0.4,
        f"num_used_tokens{scheduler}": 640,
        f"max_total_num_tokens{scheduler}": 1600,
        f"cache_hit_rate{scheduler}": 0.25,
        f"gen_throughput{scheduler}": 12.5,
        f"num_retracted_requests_total{scheduler}": 7,
        f"num_requests_total{front % 'false'}": 2,
        f"num_requests_total{front % 'true'}": 1,
        f"prompt_tokens_total{front % 'false'}": 2,
        f"generation_tokens_total{front % 'false'}": 10,
        f"time_to_first_token_seconds_count{front % 'false'}": 2,
        f"e2e_request_latency_seconds_count{front % 'true'}": 1,
        f"inter_token_latency_seconds_count{scheduler}": 8,
        'http_requests_total{endpoint="/generate",method="POST"}': 3,
        'http_responses_total{endpoint="/generate",method="POST",status_code="400"}': 1,
        'http_requests_active{endpoint="/generate",method="POST"}': 0,
    }
    assert {name: float(series[f"sglang:{name}"]) for name in expected} == pytest.approx(expected)


def test_gaps_between_tokens_are_counted_as_the_library_would() -> None:
    name, registry, labels = "sglang:inter_token_latency_seconds", CollectorRegistry(), ("a", "b")
    expected, gaps = Histogram(name, "", LABELS, buckets=ITL_BUCKETS, registry=registry), Gaps(labels)
    for tokens, seconds in ((1, 0.001), (3, 0.0125), (1, 0.002), (1, 0.0020001), (2, 99.0)):
        gaps.add(tokens, seconds)
        for _ in range(tokens):
            expected.labels(*labels).observe(seconds / tokens)
    (found,), (wanted,) = gaps.collect(), expected.collect()
    values = {(sample.name, *sample.labels.values()): sample.value for sample in wanted.samples}
    del values[f"{name}_created", *labels]
    assert {(sample.name, *sample.labels.values()): sample.value for sample in found.samples} == pytest.approx(values)


async def test_anyone_may_ask_from_anywhere() -> None:
    async with house(api_key="k") as h:
        headers = {"origin": "http://a.b", "access-control-request-method": "POST"}
        asked = await h.http.options("/v1/chat/completions", headers=headers)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "http://a.b"
        refused = await h.http.get("/v1/models", headers={"origin": "http://a.b"})
        assert "access-control-allow-origin" in refused.headers


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no", 404), ("GET", "/generate", 405)])
async def test_what_there_is_not(method: str, path: str, status: int) -> None:
    async with house() as h:
        content = (await h.http.request(method, path)).json()
        assert (content["object"], content["code"], content["type"]) == ("error", status, str(status))
