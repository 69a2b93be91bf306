"""What a server or an engine tells of itself: `/model_info`, `/server_info` and their kin."""

from importlib.metadata import PackageNotFoundError, version

import msgspec

from stemma.core.config.engine import EngineConfig
from stemma.core.config.serve import ServeConfig
from stemma.core.types.control import EngineReady, Stats
from stemma.front.dialect.answer import Json

SECRET = ("api_key", "admin_api_key")


def model_info(serve: ServeConfig, engine: EngineConfig) -> Json:
    return {
        "model_path": serve.model_path,
        "served_model_name": serve.served_model_name,
        "tokenizer_path": serve.tokenizer_path,
        "is_generation": True,
        "preferred_sampling_params": msgspec.json.decode(serve.preferred_sampling) or None,
        "weight_version": serve.weight_version,
        "load_format": engine.load_format,
        "reasoning_parser": serve.reasoning_parser,
        "tool_call_parser": serve.tool_call_parser,
        "disaggregation_mode": "null",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": engine.model.model_type,
        "architectures": [engine.model.architecture],
        "vocab_size": engine.model.vocab_size,
        "computes_beginnings_once": engine.cache.radix,  # also of requests that come at once
    }


def server_info(serve: ServeConfig, engine: EngineConfig, ready: EngineReady | None, stats: Stats | None) -> Json:
    """Every setting, keys excepted, and how the engine does."""
    settings = {name: value for name, value in msgspec.structs.asdict(serve).items() if name not in SECRET}
    return {
        **settings,
        "context_length": engine.context,
        "random_seed": engine.seed,
        "load_format": engine.load_format,
        "page_size": engine.cache.page_size,
        "disable_radix_cache": not engine.cache.radix,
        "radix_eviction_policy": engine.cache.eviction,
        "max_running_requests": engine.schedule.max_running,
        "max_queued_requests": engine.schedule.max_queued,
        "chunked_prefill_size": engine.schedule.step_tokens,
        "schedule_policy": engine.schedule.policy,
        "schedule_conservativeness": engine.schedule.conservativeness,
        "schedule_depth": engine.schedule.depth,
        "device": engine.device.device,
        "dtype": engine.device.dtype,
        "kv_cache_dtype": engine.device.kv_dtype,
        "attention_backend": engine.device.attention,
        "threads": engine.device.threads,
        "status": "starting" if ready is None else "ready",
        "max_total_num_tokens": engine.cache.pages * engine.cache.page_size,
        "max_req_input_len": engine.context - 1,
        "startup_time": None if ready is None else ready.startup_seconds,
        "internal_states": [] if stats is None else [state_of(stats)],
        "version": own_version(),
        "frontend": "python",
    }


def own_version() -> str:
    """A checkout that is only on the path of Python has none."""
    try:
        return version("stemma-llm")
    except PackageNotFoundError:
        return "unknown"


def state_of(stats: Stats) -> Json:
    return {
        **msgspec.structs.asdict(stats),
        "last_gen_throughput": stats.output_tokens_per_second,
        "num_running_reqs": stats.running,
        "num_queue_reqs": stats.waiting,
        "num_used_tokens": stats.used_pages * stats.page_size,
        "memory_usage": {"token_capacity": stats.pages * stats.page_size},
    }
