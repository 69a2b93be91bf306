"""What may be asked: every option once, with its bounds, default and help.

Names are SGLang's wherever the idea is the same. The command line, `Engine(**kwargs)` and the help
pages are made from these fields. `None` and "auto" mean "you decide"; `resolve` does.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Literal

from msgspec import Struct

from stemma.core.base.errors import ConfigError
from stemma.core.config.chat import ReasoningParser, ToolCallParser
from stemma.core.config.engine import Attention, GrammarBackend, Kernels, Policy
from stemma.core.config.field import Note, Option, Value, by_name, options_of
from stemma.core.config.quant import Quantization

LoadFormat = Literal["auto", "safetensors", "dummy"]
AskedType = Literal["auto", "half", "float16", "bfloat16", "float", "float32"]
AskedKVType = Literal["auto", "bf16", "bfloat16", "float16", "float32", "int8"]
PageSize = Literal[1, 2, 4, 8, 16, 32, 64, 128]
LogLevel = Literal["debug", "info", "warning", "error"]


class Ask(Struct, frozen=True, kw_only=True):
    """What was asked, flat, as it was asked. Made by `ask_from`, which checks it."""

    model_path: Annotated[
        str | None, Note("folder of the model, in Hugging Face layout; acorn if left out", "model", aliases=("model",))
    ] = None
    tokenizer_path: Annotated[str | None, Note("folder of the tokenizer, if it is not the model's", "model")] = None
    load_format: Annotated[LoadFormat, Note("dummy: random weights, from config.json alone", "model")] = "auto"
    dtype: Annotated[AskedType, Note("type of weights and activations; auto: the checkpoint's", "model")] = "auto"
    quantization: Annotated[
        Quantization | None, Note("keep matrices in fewer bits, packed while they are loaded", "model")
    ] = None
    context_length: Annotated[
        int | None, Note("most tokens of prompt and answer together", "model", low=1, high=1 << 27, size=True)
    ] = None
    random_seed: Annotated[
        int, Note("where all randomness begins that has no seed of its own", "model", low=0, high=2**62)
    ] = 0

    kv_cache_memory: Annotated[
        int | None, Note("bytes of the KV cache, such as 2GiB", "memory", low=1, high=1 << 50, size=True)
    ] = None
    mem_fraction_static: Annotated[
        float | None, Note("share of the usable memory for weights and KV cache together", "memory", low=0.01, high=1)
    ] = None
    max_total_tokens: Annotated[
        int | None, Note("most tokens that the KV cache holds", "memory", low=1, high=1 << 40, size=True)
    ] = None
    kv_cache_dtype: Annotated[
        AskedKVType, Note("type of cached keys and values; auto: as --dtype; int8: half the memory of bf16", "memory")
    ] = "auto"
    page_size: Annotated[PageSize, Note("tokens of a page, the unit of reuse", "memory")] = 16
    disable_radix_cache: Annotated[bool, Note("forget prefixes when their request ends", "memory")] = False
    radix_eviction_policy: Annotated[Literal["lru"], Note("which prefix is forgotten first", "memory")] = "lru"

    max_running_requests: Annotated[
        int | None, Note("most requests that are computed together", "schedule", low=1, high=4096)
    ] = None
    max_queued_requests: Annotated[
        int | None,
        Note("most requests that wait; more are refused; no limit if left out", "schedule", low=1, high=1 << 31),
    ] = None
    chunked_prefill_size: Annotated[
        int | None,
        Note(
            "most tokens of one step; longer prompts take several; -1: no limit",
            "schedule",
            low=-1,
            high=1 << 20,
            size=True,
        ),
    ] = None
    max_step_ms: Annotated[
        int,
        Note(
            "milliseconds that a step may take when prompts are computed beside running answers; 0: no limit",
            "schedule",
            low=0,
            high=3_600_000,
        ),
    ] = 250
    schedule_policy: Annotated[Policy, Note("order of the waiting", "schedule")] = "fcfs"
    enable_priority_scheduling: Annotated[
        bool, Note("requests of higher priority go first, and may push out others", "schedule")
    ] = False
    schedule_conservativeness: Annotated[
        float, Note("above 1: admit fewer requests, preempt less often", "schedule", low=0, high=100)
    ] = 1.0
    schedule_depth: Annotated[
        Literal[1, 2] | None, Note("steps in flight; 2: plan the next step while one is computed", "schedule")
    ] = None
    disable_overlap_schedule: Annotated[bool, Note("the same as --schedule-depth 1", "schedule")] = False

    grammar_backend: Annotated[
        Literal["auto", "none", GrammarBackend],
        Note("what holds answers to schemas and grammars; none: such requests are refused", "schedule"),
    ] = "auto"
    grammar_compile_timeout: Annotated[
        float, Note("seconds that compiling a grammar may take, beside what runs", "schedule", low=0.01, high=3600)
    ] = 10.0
    constrained_json_whitespace_pattern: Annotated[
        str | None, Note(r"what may stand between the signs of JSON, such as '[ \n]{0,2}'", "schedule")
    ] = None
    constrained_json_max_whitespace_cnt: Annotated[int | None, Note("or so many blanks", "schedule", low=1)] = None
    constrained_json_disable_any_whitespace: Annotated[bool, Note("or none at all", "schedule")] = False
    disable_jump_forward: Annotated[
        bool, Note("draw every token of an answer, also those that its grammar leaves no choice of", "schedule")
    ] = False

    device: Annotated[
        str, Note("where to compute: cpu, cuda, cuda:1, or auto; `plan` also knows h200 and others", "device")
    ] = "auto"
    deterministic: Annotated[
        Literal["auto", "on", "off"],
        Note("off: many rows are multiplied by a library, and a row's bits may depend on its company", "device"),
    ] = "auto"
    disable_cuda_graph: Annotated[bool, Note("launch every kernel of every step by itself", "device")] = False
    threads: Annotated[
        int | None, Note("threads that compute; one per core if left out", "device", low=1, high=1024)
    ] = None
    kernels: Annotated[Kernels | None, Note("which kernels compute; the best that run here if left out", "device")] = (
        None
    )
    attention_backend: Annotated[Attention | None, Note("how attention is computed", "device")] = None

    host: Annotated[str, Note("address to listen on; 0.0.0.0: every one", "server")] = "127.0.0.1"
    port: Annotated[int, Note("port to listen on", "server", low=1, high=65535)] = 30000
    api_key: Annotated[str | None, Note("key that every request must bear", "server")] = None
    admin_api_key: Annotated[str | None, Note("key of the requests that change the server", "server")] = None
    served_model_name: Annotated[str | None, Note("name of the model in the API", "server")] = None
    chat_template: Annotated[str | None, Note("path of a Jinja chat template, or the template itself", "server")] = None
    tool_call_parser: Annotated[
        Literal["auto", "none", ToolCallParser],
        Note("how the model writes tool calls; auto: as its chat template tells", "server"),
    ] = "auto"
    reasoning_parser: Annotated[
        Literal["auto", "none", ReasoningParser],
        Note("how the model writes its thoughts; auto: as its chat template tells", "server"),
    ] = "auto"
    sampling_defaults: Annotated[
        Literal["model", "openai"], Note("whose sampling: generation_config.json's, or OpenAI's", "server")
    ] = "model"
    preferred_sampling_params: Annotated[
        str | None, Note('defaults of sampling, as JSON: {"temperature": 0}', "server")
    ] = None
    stream_interval: Annotated[int, Note("tokens between two events of a stream", "server", low=1, high=65536)] = 1
    incremental_streaming_output: Annotated[
        bool, Note("events of /generate hold what is new, not all so far", "server")
    ] = False
    enable_cache_report: Annotated[bool, Note("usage tells how many tokens were found in the cache", "server")] = False
    enable_metrics: Annotated[bool, Note("accepted for compatibility: /metrics is always served", "server")] = False
    weight_version: Annotated[str, Note("name of these weights, told in every answer", "server")] = "default"

    log_level: Annotated[LogLevel, Note("how much is told", "log")] = "info"
    log_requests: Annotated[bool, Note("tell about every request", "log")] = False


OPTIONS: tuple[Option, ...] = options_of(Ask)


def ask_from(kwargs: Mapping[str, object]) -> Ask:
    """Check keyword arguments. Raises ConfigError that names the option, the value and the limit."""
    known, found = by_name(OPTIONS), dict[str, Value]()
    for name, value in kwargs.items():
        each = known.get(name)
        if each is None:
            raise ConfigError(f"no option {name!r}{nearest(name, known)}")
        if each.name in found:
            raise ConfigError(f"{each.name} was given twice, the second time as {name}")
        try:
            found[each.name] = each.read(value)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None
    return Ask(**found)  # type: ignore[arg-type]  # each value was read by its own option


def nearest(name: str, known: Mapping[str, object]) -> str:
    """A hint: the known names that are spelled most like this one."""
    close = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
