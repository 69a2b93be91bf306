"""What was asked becomes what is done: a table of asks and machines."""

import math
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from stemma.core.base.errors import CheckpointError, ConfigError
from stemma.core.config.ask import Ask, ask_from
from stemma.core.config.chat import ReasoningParser, Templates, ToolCallParser
from stemma.core.config.engine import EngineConfig
from stemma.core.config.machine import Machine
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.core.config.resolve import Settled, resolve, settle
from stemma.front.text.formats import CALLS, THOUGHTS

GIB = 1 << 30
SPEC = ModelSpec(
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    vocab_size=1000,
    hidden=64,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=96,
    norm_eps=1e-6,
    rope=RopeSpec(),
    max_context=4096,
    windows=(0, 0, 0),
    tied=True,
)
TOKEN_BYTES = 2 * 3 * 2 * 16 * 2  # keys and values, layers, heads, width, bfloat16


def machine(cores: int = 4, memory: int = 16 * GIB, instructions: str = "avx2 avx512_bf16") -> Machine:
    return Machine(
        name="Quick One",
        architecture="x86_64",
        cores=cores,
        memory_bytes=memory,
        instructions=tuple(instructions.split()),
    )


def settled(on: Machine | None = None, spec: ModelSpec = SPEC, **kwargs: object) -> Settled:
    return settle(ask_from(kwargs), on or machine(), "/models/some", spec)


def why(found: Settled, name: str) -> str:
    return next(reason.why for reason in found.reasons if reason.name == name)


def test_nothing_asked_is_all_decided() -> None:
    found = settled()
    engine = found.engine
    assert engine.device.device == "cpu"
    assert engine.device.threads == 4
    assert engine.context == 4096
    assert engine.schedule.depth == 1
    assert engine.schedule.max_running <= engine.schedule.step_tokens
    assert engine.cache.page_size == 16
    assert engine.cache.pages > 0
    assert "auto" not in msgspec.json.encode(engine).decode().replace('"load_format":"auto"', "")
    assert [reason.name for reason in found.reasons] == [
        *("model", "device", "dtype", "KV dtype", "kernels", "weights", "attention", "deterministic"),
        "threads",
        *("context", "step tokens", "rows", "depth", "grammars", "cache pages"),
        *("tool-call parser", "reasoning parser"),
    ]
    assert all(reason.why and reason.value for reason in found.reasons)


def test_the_engine_config_travels_as_json() -> None:
    engine = settled(max_queued_requests=5, schedule_policy="dfs-weight").engine
    assert msgspec.json.decode(msgspec.json.encode(engine), type=EngineConfig) == engine


@pytest.mark.parametrize(
    ("checkpoint", "asked", "instructions", "dtype"),
    [
        ("bfloat16", "auto", "avx2", "bfloat16"),
        ("float32", "auto", "avx512_bf16", "float32"),
        ("float16", "auto", "avx2", "float32"),
        ("float16", "auto", "avx2 avx512_bf16", "bfloat16"),
        ("float16", "auto", "amx_bf16", "bfloat16"),
        ("float16", "auto", "avx512_bf16 avx512_fp16", "float16"),
        ("float16", "auto", "asimd asimdhp", "float16"),
        ("float16", "float16", "avx2", "float16"),
        ("bfloat16", "half", "avx2", "float16"),
        ("bfloat16", "float", "avx2", "float32"),
        ("float32", "bfloat16", "avx2", "bfloat16"),
    ],
)
def test_dtype(checkpoint: str, asked: str, instructions: str, dtype: str) -> None:
    spec = msgspec.structs.replace(SPEC, dtype=checkpoint)
    found = settled(machine(instructions=instructions), spec, dtype=asked)
    assert found.engine.device.dtype == found.engine.device.kv_dtype == dtype
    assert ("asked" in why(found, "dtype")) == (asked != "auto")


def test_keys_and_values_may_have_a_type_of_their_own() -> None:
    assert settled(dtype="float32", kv_cache_dtype="bf16").engine.device.kv_dtype == "bfloat16"
    assert settled(kv_cache_dtype="int8").engine.device.kv_dtype == "int8"


def test_context() -> None:
    assert settled(context_length=100).engine.context == 100
    assert settled(context_length=4096).engine.context == 4096
    with pytest.raises(ConfigError, match="4097 exceeds the model's 4096"):
        settled(context_length=4097)


@pytest.mark.parametrize(
    ("kwargs", "depth"),
    [({}, 1), ({"schedule_depth": 2}, 2), ({"schedule_depth": 1}, 1), ({"disable_overlap_schedule": True}, 1)],
)
def test_depth(kwargs: dict[str, object], depth: int) -> None:
    assert settled(None, SPEC, **kwargs).engine.schedule.depth == depth


@pytest.mark.parametrize(
    ("kwargs", "step_tokens", "rows"),
    [
        ({"chunked_prefill_size": 8}, 8, 8),
        ({"chunked_prefill_size": 100, "max_running_requests": 100}, 100, 100),
        ({"chunked_prefill_size": -1}, 4096, 32),
        ({"chunked_prefill_size": -1, "context_length": 10}, 32, 32),
        ({"chunked_prefill_size": -1, "context_length": 10, "max_running_requests": 64}, 64, 64),
        ({"max_running_requests": 1}, 512, 1),
    ],
)
def test_limits_of_a_step(kwargs: dict[str, object], step_tokens: int, rows: int) -> None:
    schedule = settled(None, SPEC, **kwargs).engine.schedule
    assert (schedule.step_tokens, schedule.max_running) == (step_tokens, rows)


@pytest.mark.parametrize(
    ("kwargs", "tokens"),
    [
        ({"max_total_tokens": 1000}, 992),
        ({"max_total_tokens": 16}, 16),
        ({"kv_cache_memory": TOKEN_BYTES * 100}, 96),
        ({"kv_cache_memory": TOKEN_BYTES * 100, "max_total_tokens": 50}, 48),
        ({"kv_cache_memory": TOKEN_BYTES * 100, "max_total_tokens": 500}, 96),
        ({"kv_cache_memory": TOKEN_BYTES * 100, "page_size": 1}, 100),
        ({"max_running_requests": 1}, 4096),
        ({"max_running_requests": 10}, 5 * 4096),
        ({"max_running_requests": 10, "context_length": 100}, 16 * (10 * 7 // 2)),
    ],
)
def test_tokens_of_the_cache(kwargs: dict[str, object], tokens: int) -> None:
    found = settled(None, SPEC, **kwargs)
    assert found.engine.cache.pages * found.engine.cache.page_size == tokens == found.ledger.tokens


def test_the_cache_has_a_modest_default() -> None:
    large = msgspec.structs.replace(SPEC, layers=64, head_dim=128, kv_heads=8, windows=(0,) * 64)
    page_bytes = 16 * 2 * 64 * 8 * 128 * 2
    assert settled(machine(memory=100 * GIB), large).engine.cache.pages == 2 * GIB // page_bytes
    found = settled(machine(memory=2 * GIB), large)
    assert "25%" in why(found, "cache pages")
    free = 2 * GIB - (found.ledger.private_bytes - found.ledger.line("KV cache").bytes)
    # The null page is not among the pages.
    assert math.isclose(found.engine.cache.pages * page_bytes, free / 4, rel_tol=0.05)


def test_a_share_of_memory_holds_weights_and_cache() -> None:
    found = settled(machine(memory=GIB), mem_fraction_static=0.5)
    weights, cache = (
        next(line.bytes for line in found.ledger.lines if line.name == n) for n in ("weights", "KV cache")
    )
    assert GIB / 2 - 16 * TOKEN_BYTES < weights + cache <= GIB / 2 + 16 * TOKEN_BYTES


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"chunked_prefill_size": 0}, "chunked_prefill_size: 0 tokens make no step"),
        ({"chunked_prefill_size": 8, "max_running_requests": 9}, "ask for at most 8, or raise chunked_prefill_size"),
        ({"schedule_depth": 2, "disable_overlap_schedule": True}, "schedule_depth: 2 contradicts"),
        ({"max_total_tokens": 15}, "a page of 16 tokens needs"),
        ({"kv_cache_memory": 100}, "a page of 16 tokens needs"),
        ({"kv_cache_memory": GIB, "mem_fraction_static": 0.5}, "leave one of them out"),
        ({"kv_cache_memory": 64 * GIB}, "the largest part is KV cache with 64.00 GiB: change --kv-cache-memory"),
        ({"preferred_sampling_params": "{"}, "preferred_sampling_params: "),
        ({"preferred_sampling_params": "[1]"}, "preferred_sampling_params: [1]: Expected `object`, got `array`"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(kwargs: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(None, SPEC, **kwargs)
    assert says in caught.value.message


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded() -> None:
    large = msgspec.structs.replace(SPEC, hidden=8192, intermediate=32768, layers=80, windows=(0,) * 80)
    with pytest.raises(ConfigError, match=r"largest part is weights .* change --quantization"):
        settled(machine(memory=16 * GIB), large, kv_cache_memory="1GiB")
    with pytest.raises(ConfigError, match=r"largest part is weights .* change --quantization"):
        settled(machine(memory=16 * GIB), large)


def test_the_server_gets_what_was_asked() -> None:
    serve = settled(port=5, api_key="k", served_model_name="n", stream_interval=3, enable_cache_report=True).serve
    assert (serve.port, serve.api_key, serve.served_model_name, serve.stream_interval) == (5, "k", "n", 3)
    assert serve.cache_report
    assert serve.tokenizer_path == serve.model_path == "/models/some"
    assert settled(tokenizer_path="/elsewhere").serve.tokenizer_path == "/elsewhere"


def test_without_a_model_it_is_acorn() -> None:
    found = resolve(Ask(), machine())
    assert found.serve.served_model_name == "acorn"
    assert Path(found.engine.model_path, "config.json").is_file()
    assert found.engine.model.architecture == "Qwen3ForCausalLM"


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match=r"/nowhere"):
        resolve(Ask(model_path="/nowhere"), machine())


def test_equal_asks_settle_equally() -> None:
    assert settled() == settled()


@pytest.mark.parametrize(
    ("source", "calls", "thoughts"),
    [
        (None, None, None),
        ("{{ messages }}", None, None),
        ("<tool_call>", "hermes", None),
        ("{% if enable_thinking %}<think>{% endif %} <tool_call>{}</tool_call>", "hermes", "qwen3"),
        ("<tool_call><function=f></tool_call>", None, None),
        ("content.split('</think>')", None, "qwen3"),
    ],
)
def test_the_chat_template_tells_the_parsers(source: str | None, calls: str | None, thoughts: str | None) -> None:
    templates = None if source is None else Templates({"default": "", "tool_use": source}, "here")
    found = settle(Ask(), machine(), "/models/some", SPEC, templates)
    assert (found.serve.tool_call_parser, found.serve.reasoning_parser) == (calls, thoughts)
    assert "chat template" in why(found, "tool-call parser")
    asked = settle(Ask(tool_call_parser="qwen", reasoning_parser="none"), machine(), "/models/some", SPEC, templates)
    assert (asked.serve.tool_call_parser, asked.serve.reasoning_parser) == ("qwen", None)
    assert "asked" in why(asked, "reasoning parser")


def test_every_parser_that_may_be_asked_for_is_in_the_table() -> None:
    assert list(CALLS) == list(get_args(ToolCallParser))
    assert list(THOUGHTS) == list(get_args(ReasoningParser))


@pytest.mark.parametrize(
    ("instructions", "kernels"),
    [
        ("avx2 avx512bw avx512_vnni avx512_bf16", "avx512_bf16"),
        ("avx2 avx512bw avx512_vnni", "avx512_vnni"),
        ("avx2 avx512bw avx512_bf16", "avx512"),
        ("avx2 fma", "avx2"),
        ("", "portable"),
    ],
)
def test_kernels_use_the_best_instructions(instructions: str, kernels: str) -> None:
    device = settled(machine(instructions=instructions)).engine.device
    assert (device.kernels, device.attention) == (kernels, "paged")


def test_without_a_compiler_plain_torch_computes_and_says_why() -> None:
    bare = msgspec.structs.replace(machine(), cannot_build="no compiler")
    found = settled(bare)
    assert (found.engine.device.kernels, found.engine.device.attention) == ("reference", "reference")
    assert not found.engine.device.is_native
    assert why(found, "kernels") == "no compiler; native kernels are many times faster"
    with pytest.raises(ConfigError, match="portable cannot be served: no compiler; take reference"):
        settled(bare, kernels="portable")


def test_kernels_that_cannot_run_are_refused() -> None:
    assert settled(dtype="float16").engine.device.kernels == "reference"
    assert settled(kernels="portable").engine.device.kernels == "portable"
    with pytest.raises(ConfigError, match="lacks instructions of avx512; it has those of avx2, portable"):
        settled(machine(instructions="avx2"), kernels="avx512")
    with pytest.raises(ConfigError, match="paged needs native kernels, and these are reference; take reference"):
        settled(kernels="reference", attention_backend="paged")


def test_grammars_have_a_backend_unless_nobody_wants_them() -> None:
    grammar = settled(grammar_compile_timeout=2.5).engine.grammar
    assert grammar is not None
    assert grammar.backend == "chain"
    assert grammar.compile_seconds == 2.5
    asked = settled(grammar_backend="llguidance").engine.grammar
    assert asked is not None
    assert asked.backend == "llguidance"
    assert settled(grammar_backend="none").engine.grammar is None


def test_whitespace_of_json_is_settled_before_the_start() -> None:
    def whitespace(**asked: object) -> tuple[str | None, int | None]:
        grammar = settle(ask_from(asked), machine(), "/models/some", SPEC).engine.grammar
        assert grammar is not None
        return grammar.whitespace_pattern, grammar.most_whitespace

    assert whitespace() == (None, None)
    assert whitespace(constrained_json_disable_any_whitespace=True) == (None, 0)
    assert whitespace(constrained_json_max_whitespace_cnt=3) == (None, 3)
    pattern = r"( |\n[\t ]{0,20})?"
    assert whitespace(constrained_json_whitespace_pattern=pattern) == (pattern, None)
    for wrong, why in ((r"\s*", "blanks"), ("x?", "blanks"), ("[ ", "no regular expression")):
        with pytest.raises(ConfigError, match=why):
            settled(constrained_json_whitespace_pattern=wrong)
    with pytest.raises(ConfigError, match="takes no --constrained-json-whitespace-pattern"):
        settled(constrained_json_whitespace_pattern=" ?", grammar_backend="xgrammar")
    with pytest.raises(ConfigError, match="exclude each other"):
        settled(constrained_json_whitespace_pattern=" ?", constrained_json_max_whitespace_cnt=2)


@pytest.mark.parametrize(("memory", "held"), [(64 * GIB, 4 * GIB), (8 * GIB, 2 * GIB)])
def test_requests_may_hold_a_share_of_the_memory(memory: int, held: int) -> None:
    assert settle(Ask(), machine(memory=memory), "/models/some", SPEC).serve.max_held_bytes == held
