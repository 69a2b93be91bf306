"""How the server presents itself: addresses, keys, names and habits of streaming."""

from typing import Literal

from msgspec import Struct

from stemma.core.config.chat import ReasoningParser, ToolCallParser


class ServeConfig(Struct, frozen=True, kw_only=True):
    """Everything a front process needs beside the EngineConfig."""

    model_path: str
    tokenizer_path: str
    served_model_name: str
    host: str = "127.0.0.1"
    port: int = 30000
    api_key: str | None = None
    admin_api_key: str | None = None
    chat_template: str | None = None  # a path, or the template itself; None: the model's own
    tool_call_parser: ToolCallParser | None = None  # None: tools are refused
    reasoning_parser: ReasoningParser | None = None  # None: thoughts are content
    sampling_defaults: Literal["model", "openai"] = (
        "model"  # whether generation_config.json fills what a request leaves out
    )
    preferred_sampling: str = "{}"  # JSON: defaults of this server, before the model's
    stream_interval: int = 1  # tokens between two chunks of a stream; the first is sent at once
    incremental_streaming: bool = False  # native streams: deltas in place of the whole so far
    cache_report: bool = False  # usage tells cached tokens
    max_body_bytes: int = 32 << 20
    max_held_bytes: int = 1 << 30  # of memory, by all requests in service
    weight_version: str = "default"
    log_level: str = "info"
    log_requests: bool = False
