"""Chat templates: messages become the text that a model was trained to continue.

Templates are Jinja, written by the model's authors for the environment that transformers gives them;
this is the same environment, in a sandbox, with an end to how much may be written.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stemma.core.base.errors import BadRequest, CheckpointError
from stemma.core.config.chat import read_settings, read_templates
from stemma.front.text.tokenizer import check_unicode, special_tokens

MAX_CHARACTERS = 32 << 20
OWN_VARIABLES = ("messages", "tools", "add_generation_prompt")

Message = Mapping[str, object]


class ChatTemplate:
    """The template of one model, and the one it uses when there are tools, where that is another.

    `tokens` are the variables bos_token, eos_token, ... Raises CheckpointError when a template does not parse.
    """

    def __init__(
        self, sources: Mapping[str, str], tokens: Mapping[str, str], origin: str = "the chat template",
        max_characters: int = MAX_CHARACTERS,
    ):  # fmt: skip
        environment = _environment()
        self._tokens = dict(tokens)
        self._max_characters = max_characters
        self._templates: dict[str, Template] = {}
        for name, source in sources.items():
            try:
                self._templates[name] = environment.from_string(source)
            except TemplateError as error:
                raise CheckpointError(f"{origin} does not parse: {error}") from error

    @classmethod
    def from_folder(cls, folder: str | Path, override: str | None = None) -> "ChatTemplate | None":
        """As `read_templates` finds it."""
        found = read_templates(folder, override)
        if found is None:
            return None
        return cls(found.sources, special_tokens(read_settings(folder)), found.origin)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: Mapping[str, object] | None = None,
    ) -> str:
        """The prompt. Raises BadRequest for whatever the template refuses.

        With `continue_final_message` the last message, the assistant's, is left out of the template and its
        content put behind the prompt, so that the model goes on with it.
        """
        if not messages:
            raise BadRequest("messages is empty; send at least one", "messages")
        for name in kwargs or ():
            if name in OWN_VARIABLES:
                raise BadRequest(f"{name!r} is a field of its own, not one of the template's", "chat_template_kwargs")
        prepared = [_prepare(message, f"messages[{at}]") for at, message in enumerate(messages)]
        beginning = _pop_beginning(prepared) if continue_final_message else ""
        variables = {
            **self._tokens,
            **(kwargs or {}),
            "messages": prepared,
            "tools": list(tools) if tools else None,
            "documents": (kwargs or {}).get("documents"),
            "add_generation_prompt": add_generation_prompt or continue_final_message,
        }
        text = self._write(self._choose(bool(tools)), variables) + beginning
        check_unicode(text, "messages")
        return text

    def _choose(self, has_tools: bool) -> Template:
        name = "tool_use" if has_tools and "tool_use" in self._templates else "default"
        if name not in self._templates:
            known = ", ".join(self._templates)
            raise BadRequest(f"the model has no chat template named 'default'; there are {known}", "messages")
        return self._templates[name]

    def _write(self, template: Template, variables: Mapping[str, object]) -> str:
        pieces: list[str] = []
        left = self._max_characters
        try:
            for piece in template.generate(variables):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise BadRequest(f"the chat template wrote more than {self._max_characters} characters", "messages")
        except BadRequest:
            raise
        except Exception as error:  # a template is a program: what it raises on strange messages may be anything
            raise BadRequest(f"the chat template refused the messages: {error}", "messages") from error
        return "".join(pieces)


def _prepare(message: Message, at: str) -> dict[str, object]:
    """A message as templates expect it: content is one text, arguments of tool calls are objects."""
    if not isinstance(message.get("role"), str):
        raise BadRequest(f"{at} has no role", f"{at}.role")
    prepared = dict(message)
    prepared["content"] = _text_of(message.get("content"), f"{at}.content")
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str):
        prepared["tool_calls"] = [_prepare_call(call, f"{at}.tool_calls[{i}]") for i, call in enumerate(calls)]
    return prepared


def _text_of(content: object, at: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise BadRequest(f"{at} is neither text nor a list of parts", at)
    texts: list[str] = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            raise BadRequest(f"a content part of type {kind!r} cannot be used here; this model reads text only",
                             f"{at}[{i}].type")  # fmt: skip
        texts.append(text)
    return " ".join(texts)


def _prepare_call(call: object, at: str) -> object:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise BadRequest(f"{at} has no function", f"{at}.function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}", type=dict[str, object])
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise BadRequest(f"the arguments are no JSON object: {error}", f"{at}.function.arguments") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _pop_beginning(prepared: list[dict[str, object]]) -> str:
    last = prepared.pop()
    if last["role"] != "assistant" or not prepared:
        raise BadRequest("the last message must be the assistant's, after another one, to be continued",
                         "continue_final_message")  # fmt: skip
    return str(last["content"])


class Generation(Extension):
    """`{% generation %}` marks what an assistant wrote, for training; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own form

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: object, ensure_ascii: bool = False, indent: int | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    """Plain JSON: Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
