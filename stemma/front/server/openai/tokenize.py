"""`/v1/tokenize` and `/v1/detokenize`: text and token ids, without the model."""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest
from stemma.core.types.sampling import TokenId
from stemma.front.dialect.body import decode
from stemma.front.dialect.bounds import MAX_BATCH
from stemma.front.dialect.prompts import token_lists
from stemma.front.server.endpoint import Call, aside
from stemma.front.server.errors import json_response
from stemma.front.server.openai.common import require_json
from stemma.front.server.openai.prompt import prompt_of_chat, tokens_of
from stemma.front.server.openai.tools import Tools, check_tools
from stemma.front.service.service import Service

MAX_DETOKENIZED = 1 << 20  # a tenth of a second's work, and each may be a long text


class TokenizeBody(Struct, kw_only=True):
    """A prompt, or the messages of a conversation."""

    prompt: str | Annotated[list[str], Meta(max_length=MAX_BATCH)] | None = None
    messages: list[dict[str, object]] | None = None
    add_special_tokens: bool | None = True
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = False
    chat_template_kwargs: dict[str, object] | None = None
    reasoning_effort: str | float | None = None
    tools: Tools | None = None


class DetokenizeBody(Struct):
    tokens: Annotated[list[TokenId | list[TokenId]], Meta(min_length=1)]
    skip_special_tokens: bool | None = True


class Tokens:
    """The tokenizer, as an endpoint."""

    def __init__(self, service: Service, context: int):
        self._service = service
        self._context = context

    async def tokenize(self, call: Call) -> ASGIApp:
        require_json(call)
        tokens, count = await aside(call, self._encode, call.body)
        return json_response({"tokens": tokens, "count": count, "max_model_len": self._context})

    def _encode(self, content: bytes) -> tuple[object, object]:
        """The tokens and how many they are; of a list of prompts, lists of both."""
        body = decode(content, TokenizeBody)
        if (body.prompt is None) == (body.messages is None):
            raise BadRequest("give either prompt or messages", "prompt")
        tokenizer = self._service.tokenizer
        special = body.add_special_tokens is not False
        if isinstance(body.prompt, list):
            lists = tokenizer.encode_batch(body.prompt, special) if body.prompt else []
            return lists, [len(tokens) for tokens in lists]
        tokens = (
            tokenizer.encode(body.prompt, special)
            if body.prompt is not None
            else tokens_of(self._service, self._prompt(body))
        )
        return tokens, len(tokens)

    def _prompt(self, body: TokenizeBody) -> str:
        check_tools(body.tools or [])
        return prompt_of_chat(
            self._service,
            body.messages or [],
            tools=body.tools,
            continue_final_message=bool(body.continue_final_message),
            add_generation_prompt=body.add_generation_prompt is not False,
            chat_template_kwargs=body.chat_template_kwargs or {},
            reasoning_effort=body.reasoning_effort,
        )

    async def detokenize(self, call: Call) -> ASGIApp:
        require_json(call)
        return json_response({"text": await aside(call, self._decode, call.body)})

    def _decode(self, content: bytes) -> str | list[str]:
        body = decode(content, DetokenizeBody)
        lists, is_batch = token_lists(body.tokens, "tokens")
        if (size := sum(map(len, lists))) > MAX_DETOKENIZED:
            raise BadRequest(f"tokens: {size} are too many at once; send at most {MAX_DETOKENIZED}", "tokens")
        texts = [self._service.tokenizer.decode(tokens, body.skip_special_tokens is not False) for tokens in lists]
        return texts if is_batch else texts[0]
