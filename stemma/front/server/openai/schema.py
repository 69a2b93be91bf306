"""The bodies of OpenAI's chat and completions, with SGLang's additions, and what is answered to them.

A field that is null counts as left out. Unknown fields are ignored, as OpenAI's servers do.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from stemma.core.types.sampling import Count, TokenId
from stemma.front.dialect.body import Later
from stemma.front.dialect.bounds import Name, Positive, Priority, RequestId, Samples, Seed, Top
from stemma.front.dialect.constraint import Schema, StructuralTag
from stemma.front.server.openai.tools import ToolChoice, Tools
from stemma.front.service.promise import Certificate

_NULL = Raw(b"null")


class StreamOptions(Struct):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class TextFormat(Struct, tag_field="type", tag="text"):
    """Anything."""


class AnyObject(Struct, tag_field="type", tag="json_object"):
    """A JSON object."""


class NamedSchema(Struct):
    schema: Schema


class JsonSchema(Struct, tag_field="type", tag="json_schema"):
    json_schema: NamedSchema


ResponseFormat = TextFormat | AnyObject | JsonSchema | StructuralTag


class Common(Later, kw_only=True):
    """What both routes understand. The bounds of sampling are those of SamplingParams."""

    model: Name | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Samples | None = None
    response_format: ResponseFormat | None = None
    rid: RequestId | None = None
    priority: Priority | None = None
    cache_salt: Name | None = None
    extra_key: Name | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int | None] | None = None
    stop_regex: str | list[str] | None = None
    min_tokens: Count | None = None
    max_tokens: Positive | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    json_schema: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    structural_tag: str | None = None
    certificate: bool | None = False

    lora_path: Raw = _NULL
    session_params: Raw = _NULL
    custom_logit_processor: Raw = _NULL
    custom_params: Raw = _NULL
    watermark: Raw = _NULL
    return_hidden_states: Raw = _NULL
    return_routed_experts: Raw = _NULL
    return_cached_tokens_details: Raw = _NULL
    return_token_ids: Raw = _NULL
    bootstrap_host: Raw = _NULL
    bootstrap_room: Raw = _NULL

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def wants_running_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.continuous_usage_stats)


class ChatBody(Common, kw_only=True):
    messages: Annotated[list[dict[str, object]], Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = False
    top_logprobs: Top | None = None
    continue_final_message: bool | None = False
    chat_template_kwargs: dict[str, object] | None = None
    reasoning_effort: str | float | None = None
    separate_reasoning: bool | None = True
    stream_reasoning: bool | None = True
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = True

    functions: Raw = _NULL
    audio: Raw = _NULL
    input_ids: Raw = _NULL
    task: Raw = _NULL
    return_prompt_token_ids: Raw = _NULL
    return_meta_info: Raw = _NULL
    return_input_ids_in_sglext: Raw = _NULL
    return_output_ids_in_sglext: Raw = _NULL
    return_sampling_mask: Raw = _NULL


class CompletionBody(Common, kw_only=True):
    prompt: str | list[str | TokenId | list[TokenId]]
    echo: bool | None = False
    logprobs: Top | None = None
    best_of: Samples | None = None

    suffix: Raw = _NULL


# What is answered.


class PromptDetails(Struct):
    cached_tokens: int


class OutputDetails(Struct):
    reasoning_tokens: int


class UsageBlock(Struct, kw_only=True):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    reasoning_tokens: int = 0
    completion_tokens_details: OutputDetails | None = None


class Metadata(Struct):
    weight_version: str


class TopToken(Struct):
    token: str
    bytes: list[int]
    logprob: float | None


class ChatToken(TopToken):
    top_logprobs: list[TopToken]


class ChatLogprobs(Struct):
    content: list[ChatToken]


class CalledFunction(Struct):
    name: str | None
    arguments: str


class ToolCall(Struct, kw_only=True):
    """A whole call; or of a stream its beginning, then, with neither id nor name, more of its arguments."""

    index: int
    id: str | None
    type: str = "function"
    function: CalledFunction


class AssistantMessage(Struct, kw_only=True):
    role: str = "assistant"
    content: str
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(Struct, kw_only=True):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    matched_stop: int | str | None
    certificate: Certificate | UnsetType | None = UNSET


class ChatAnswer(Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBlock
    metadata: Metadata


class Delta(Struct, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatDelta(Struct, kw_only=True):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    matched_stop: int | str | None = None
    certificate: Certificate | UnsetType | None = UNSET


class ChatChunk(Struct, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatDelta]
    usage: UsageBlock | UnsetType = UNSET


class TextLogprobs(Struct, kw_only=True):
    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class TextChoice(Struct, kw_only=True):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: str | None = None
    matched_stop: int | str | None = None
    certificate: Certificate | UnsetType | None = UNSET


class TextAnswer(Struct, kw_only=True):
    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: UsageBlock | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
