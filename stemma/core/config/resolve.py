"""What was asked becomes what is done, and why: the only place that decides an "auto"."""

import re
from typing import get_args

import msgspec
from msgspec import Struct

from stemma.core.base.errors import ConfigError
from stemma.core.base.numbers import ceil_div, format_bytes
from stemma.core.config.ask import Ask
from stemma.core.config.chat import (
    ReasoningParser,
    Templates,
    ToolCallParser,
    implied_reasoning,
    implied_tool_calls,
    read_templates,
)
from stemma.core.config.device import device_of
from stemma.core.config.embedded import NAME, embedded_model_path
from stemma.core.config.engine import (
    WHITESPACE_BACKENDS,
    CacheConfig,
    EngineConfig,
    GrammarBackend,
    GrammarConfig,
    ScheduleConfig,
)
from stemma.core.config.families import read_model_spec
from stemma.core.config.ledger import Ledger, ledger_of
from stemma.core.config.machine import Machine
from stemma.core.config.model import ModelSpec, kv_bytes_per_token
from stemma.core.config.notes import ASKED, Notes, Reason
from stemma.core.config.place import Place, place_of
from stemma.core.config.serve import ServeConfig


class Settled(Struct, frozen=True, kw_only=True):
    """Every question answered."""

    engine: EngineConfig
    serve: ServeConfig
    ledger: Ledger
    reasons: tuple[Reason, ...]


def resolve(ask: Ask, machine: Machine) -> Settled:
    """Settle an ask for the model that it names. Raises ConfigError, CheckpointError."""
    path = ask.model_path or str(embedded_model_path())
    spec = read_model_spec(path)
    return settle(ask, machine, path, spec, read_templates(ask.tokenizer_path or path, ask.chat_template))


def settle(ask: Ask, machine: Machine, path: str, spec: ModelSpec, templates: Templates | None = None) -> Settled:
    """The pure part of `resolve`: equal arguments, equal answer. Raises ConfigError."""
    notes = Notes()
    notes.take("model", (path, ASKED if ask.model_path else "none was asked for; this one comes with the package"))
    place = notes.take("device", place_of(ask.device, machine))
    device = device_of(ask, machine, place, spec, notes)
    context = notes.take("context", _context(ask, spec))
    schedule = _schedule(ask, place, context, notes)
    radix, eviction = not ask.disable_radix_cache, ask.radix_eviction_policy
    cache = CacheConfig(pages=0, page_size=ask.page_size, radix=radix, eviction=eviction)
    engine = EngineConfig(
        model_path=path,
        model=spec,
        load_format=ask.load_format,
        context=context,
        seed=ask.random_seed,
        cache=cache,
        schedule=schedule,
        device=device,
        grammar=_grammar(ask, path, notes),
        log_level=ask.log_level,
    )
    pages = notes.take("cache pages", _pages(ask, place, engine))
    engine = msgspec.structs.replace(engine, cache=msgspec.structs.replace(engine.cache, pages=pages))
    ledger = ledger_of(engine, place.memory_bytes)
    ledger.check()
    serve = _serve(ask, path, templates, machine, notes)
    return Settled(engine=engine, serve=serve, ledger=ledger, reasons=tuple(notes))


def _grammar(ask: Ask, path: str, notes: Notes) -> GrammarConfig | None:
    if ask.grammar_backend == "none":
        return None
    backend = notes.take("grammars", _backend(ask))
    return GrammarConfig(
        tokenizer_path=ask.tokenizer_path or path,
        backend=backend,
        compile_seconds=ask.grammar_compile_timeout,
        whitespace_pattern=_whitespace(ask, backend),
        most_whitespace=0 if ask.constrained_json_disable_any_whitespace else ask.constrained_json_max_whitespace_cnt,
        jump_forward=not ask.disable_jump_forward,
    )


def _whitespace(ask: Ask, backend: GrammarBackend) -> str | None:
    """The pattern, which says nothing that JSON does not allow."""
    pattern, name = ask.constrained_json_whitespace_pattern, "--constrained-json-whitespace-pattern"
    if pattern is None:
        return None
    if ask.constrained_json_disable_any_whitespace or ask.constrained_json_max_whitespace_cnt is not None:
        raise ConfigError(f"{name} and a number of blanks exclude each other; give one of them")
    if backend not in WHITESPACE_BACKENDS:
        raise ConfigError(f"the grammar backend {backend} takes no {name}; give --constrained-json-max-whitespace-cnt")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{name} {pattern!r} is no regular expression: {error}") from None
    if not re.fullmatch(r"(?:[ \n\r\t\[\]()|*+?]|\\[nrt]|\{\d*,?\d*\})*", pattern):
        raise ConfigError(f"{name} {pattern!r} has more than blanks, \\n, \\r, \\t, sets, groups and counts of them")
    return pattern


def _backend(ask: Ask) -> tuple[GrammarBackend, str]:
    if ask.grammar_backend == "auto" or ask.grammar_backend == "none":  # narrows its type
        return get_args(GrammarBackend)[0], "serves every kind of grammar, and the most schemas"
    return ask.grammar_backend, ASKED


def _context(ask: Ask, spec: ModelSpec) -> tuple[int, str]:
    if ask.context_length is None:
        return spec.max_context, "what the model was made for"
    if ask.context_length > spec.max_context:
        raise ConfigError(
            f"context_length: {ask.context_length} exceeds the model's {spec.max_context} positions; "
            f"ask for at most {spec.max_context}, or give config.json a rope_scaling"
        )
    return ask.context_length, ASKED


def _schedule(ask: Ask, place: Place, context: int, notes: Notes) -> ScheduleConfig:
    step_tokens = notes.take("step tokens", _step_tokens(ask, place, context))
    return ScheduleConfig(
        max_running=notes.take("rows", _rows(ask, place, step_tokens)),
        max_queued=ask.max_queued_requests,
        step_tokens=step_tokens,
        policy=ask.schedule_policy,
        priority=ask.enable_priority_scheduling,
        conservativeness=ask.schedule_conservativeness,
        max_step_seconds=ask.max_step_ms / 1000,
        depth=notes.take("depth", _depth(ask, place)),
    )


def _step_tokens(ask: Ask, place: Place, context: int) -> tuple[int, str]:
    if ask.chunked_prefill_size is None:
        return place.step_tokens, "enough to fill the device, and short enough for those who wait for their next token"
    if ask.chunked_prefill_size == 0:
        raise ConfigError("chunked_prefill_size: 0 tokens make no step; give at least 1, or -1 for no limit")
    if ask.chunked_prefill_size == -1:
        longest = max(context, ask.max_running_requests or place.rows)
        return longest, "you asked for no limit: the longest prompt is one step"
    return ask.chunked_prefill_size, ASKED


def _rows(ask: Ask, place: Place, step_tokens: int) -> tuple[int, str]:
    if ask.max_running_requests is None:
        return min(place.rows, step_tokens), "what the device computes together with gain"
    if ask.max_running_requests > step_tokens:
        raise ConfigError(
            f"max_running_requests: {ask.max_running_requests} requests need a token each in every step of "
            f"{step_tokens}; ask for at most {step_tokens}, or raise chunked_prefill_size"
        )
    return ask.max_running_requests, ASKED


def _depth(ask: Ask, place: Place) -> tuple[int, str]:
    if ask.disable_overlap_schedule and ask.schedule_depth == 2:
        raise ConfigError("schedule_depth: 2 contradicts disable_overlap_schedule; leave one of them out")
    if ask.disable_overlap_schedule or ask.schedule_depth is not None:
        return ask.schedule_depth or 1, ASKED
    return place.depth, place.why_depth


def _pages(ask: Ask, place: Place, engine: EngineConfig) -> tuple[int, str]:
    page_bytes = engine.cache.page_size * kv_bytes_per_token(engine.model, engine.device.kv_dtype)
    bytes_, why = _cache_bytes(ask, place, engine, page_bytes)
    pages = bytes_ // page_bytes
    if ask.max_total_tokens is not None and ask.max_total_tokens < pages * engine.cache.page_size:
        pages, why = ask.max_total_tokens // engine.cache.page_size, ASKED
    if pages < 1:
        raise ConfigError(
            f"the KV cache has {format_bytes(max(0, bytes_))} for {ask.max_total_tokens or 'its'} tokens and a page of "
            f"{engine.cache.page_size} tokens needs {format_bytes(page_bytes)}; raise kv_cache_memory or "
            "max_total_tokens, or take a smaller page_size"
        )
    return pages, why


def _cache_bytes(ask: Ask, place: Place, engine: EngineConfig, page_bytes: int) -> tuple[int, str]:
    rest = ledger_of(engine, place.memory_bytes)
    rest.check()
    if ask.kv_cache_memory is not None and ask.mem_fraction_static is not None:
        raise ConfigError("kv_cache_memory and mem_fraction_static both size the KV cache; leave one of them out")
    if ask.kv_cache_memory is not None:
        return ask.kv_cache_memory, ASKED
    if ask.mem_fraction_static is not None:
        share = int(place.memory_bytes * ask.mem_fraction_static)
        return share - rest.line("weights").bytes, "the share that you asked for, without the weights"
    if ask.max_total_tokens is not None:
        return ask.max_total_tokens * page_bytes, ASKED
    full = ceil_div(engine.context, engine.cache.page_size) * page_bytes
    need = max(full, engine.schedule.max_running * full // 2)
    share = int((place.memory_bytes - rest.private_bytes) * place.cache_share)
    choices = [
        (need, "as much as is needed when every row grows to half of the context"),
        (share, f"{place.cache_share:.0%} of the memory that the rest leaves"),
    ]
    if place.cache_bytes is not None:
        choices.append((place.cache_bytes, f"{format_bytes(place.cache_bytes)} unless asked otherwise"))
    return min(choices)


def _tool_calls(ask: Ask, templates: Templates | None) -> tuple[ToolCallParser | None, str]:
    if ask.tool_call_parser == "auto":
        return implied_tool_calls(templates)
    return None if ask.tool_call_parser == "none" else ask.tool_call_parser, ASKED


def _reasoning(ask: Ask, templates: Templates | None) -> tuple[ReasoningParser | None, str]:
    if ask.reasoning_parser == "auto":
        return implied_reasoning(templates)
    return None if ask.reasoning_parser == "none" else ask.reasoning_parser, ASKED


def _serve(ask: Ask, path: str, templates: Templates | None, machine: Machine, notes: Notes) -> ServeConfig:
    _check_preferred(ask.preferred_sampling_params)
    return ServeConfig(
        model_path=path,
        tokenizer_path=ask.tokenizer_path or path,
        served_model_name=ask.served_model_name or (path if ask.model_path else NAME),
        host=ask.host,
        port=ask.port,
        api_key=ask.api_key,
        admin_api_key=ask.admin_api_key,
        chat_template=ask.chat_template,
        tool_call_parser=notes.take("tool-call parser", _tool_calls(ask, templates)),
        reasoning_parser=notes.take("reasoning parser", _reasoning(ask, templates)),
        sampling_defaults=ask.sampling_defaults,
        preferred_sampling=ask.preferred_sampling_params or "{}",
        stream_interval=ask.stream_interval,
        incremental_streaming=ask.incremental_streaming_output,
        cache_report=ask.enable_cache_report,
        max_held_bytes=min(4 << 30, machine.memory_bytes // 4),
        weight_version=ask.weight_version,
        log_level=ask.log_level,
        log_requests=ask.log_requests,
    )


def _check_preferred(text: str | None) -> None:
    try:
        msgspec.json.decode(text or "{}", type=dict)
    except msgspec.DecodeError as error:
        raise ConfigError(f"preferred_sampling_params: {text}: {error}") from None
