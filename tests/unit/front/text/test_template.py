import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from stemma.core.base.errors import BadRequest, CheckpointError, ConfigError
from stemma.front.text.template import ChatTemplate, Message
from tests.unit.front.vocabularies import byte_level_backend

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + content.split('</think>')[-1].lstrip('\\n') }}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '\\n<tool_call>\\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
                {{- tool_call.arguments | tojson }}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

LLAMA = """\
{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
<|start_header_id|>system<|end_header_id|>

Today Date: {{ date_string }}
{% for tool in tools or [] %}
{{ tool | tojson(indent=4) }}
{% endfor %}
{{ system_message }}<|eot_id|>
{%- for message in messages %}
    {%- if message.role == 'ipython' %}{% continue %}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

MISTRAL = """\
{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' -}}
{% elif message['role'] == 'assistant' %}
{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}
{% endfor %}
"""

USER: Message = {"role": "user", "content": "Wie spät ist es? <b>&'\""}
SYSTEM: Message = {"role": "system", "content": " Be brief. "}
ASSISTANT: Message = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSix."}
CALL: Message = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"in": "Zürich"}'}}],
}
RESULT: Message = {"role": "tool", "tool_call_id": "1", "content": "18:00"}
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {"in": {}}}}}

CASES = [
    (CHATML, [USER], None, {}),
    (CHATML, [SYSTEM, USER, ASSISTANT, USER], None, {"enable_thinking": False}),
    (CHATML, [SYSTEM, USER], [TOOL], {}),
    (CHATML, [USER, CALL, RESULT, RESULT, ASSISTANT, USER], [TOOL], {"enable_thinking": True}),
    (LLAMA, [SYSTEM, USER], None, {"date_string": "1 Jan 2025"}),
    (LLAMA, [USER, {"role": "ipython", "content": "out"}, ASSISTANT, USER], [TOOL], {}),
    (MISTRAL, [USER, ASSISTANT, USER], None, {}),
]


def as_transformers_wants(message: Message) -> dict[str, Any]:
    """Its templates are given arguments as objects, and content that is there."""
    copy = json.loads(json.dumps(message))
    copy["content"] = copy["content"] or ""
    for call in copy.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return dict(copy)


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize(("source", "messages", "tools", "kwargs"), CASES)
def test_templates_write_what_transformers_writes(
    source: str, messages: list[Message], tools: list[dict[str, object]] | None, kwargs: dict[str, object], add: bool
) -> None:
    backend = byte_level_backend()
    judge: Any = PreTrainedTokenizerFast(tokenizer_object=backend, **TOKENS)  # type: ignore[no-untyped-call]
    expected = judge.apply_chat_template(
        [as_transformers_wants(message) for message in messages],
        tools=tools, chat_template=source, add_generation_prompt=add, tokenize=False, **kwargs,
    )  # fmt: skip
    template = ChatTemplate({"default": source}, TOKENS)
    assert template.render(messages, tools=tools, add_generation_prompt=add, kwargs=kwargs) == expected


def render(source: str, messages: list[Message] | None = None, **options: Any) -> str:
    return ChatTemplate({"default": source}, TOKENS).render([USER] if messages is None else messages, **options)


def test_the_last_message_can_be_continued() -> None:
    begun: Message = {"role": "assistant", "content": "It is  "}
    assert render(CHATML, [USER, begun], continue_final_message=True) == render(CHATML, [USER]) + "It is  "
    for messages in ([USER], [begun], [USER, begun, USER]):
        with pytest.raises(BadRequest, match="must be the assistant's") as error:
            render(CHATML, messages, continue_final_message=True)
        assert error.value.field == "continue_final_message"


def test_text_parts_are_joined_and_other_parts_are_named() -> None:
    parts: list[object] = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "one two"
    parts[1] = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(BadRequest, match="'image_url'") as error:
        render(CHATML, [USER, {"role": "user", "content": parts}])
    assert error.value.field == "messages[1].content[1].type"


def called_with(arguments: str) -> Message:
    return {"role": "assistant", "tool_calls": [{"function": {"name": "clock", "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"content": "x"}, "messages[0].role"),
        ({"role": 1, "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 1}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].type"),
        ({"role": "assistant", "tool_calls": [1]}, "messages[0].tool_calls[0].function"),
        (called_with("{"), "messages[0].tool_calls[0].function.arguments"),
        (called_with("[]"), "messages[0].tool_calls[0].function.arguments"),
        ({"role": "user", "content": "\ud800"}, "messages"),
    ],
)  # fmt: skip
def test_messages_of_a_wrong_shape_are_refused_by_name(message: Message, field: str) -> None:
    with pytest.raises(BadRequest) as error:
        render("{% for m in messages %}{{ m.content }}{% endfor %}", [message])
    assert error.value.field == field


def test_no_messages_and_reserved_variables_are_refused() -> None:
    with pytest.raises(BadRequest, match="at least one"):
        render(CHATML, [])
    with pytest.raises(BadRequest) as error:
        render(CHATML, kwargs={"messages": []})
    assert error.value.field == "chat_template_kwargs"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('never') }}",
        "{{ missing.attribute }}",
        "{{ 1 + messages[0].content }}",
        "{{ messages[5].content.x }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(x=1) }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_what_a_template_may_not_do_is_a_bad_request(source: str) -> None:
    with pytest.raises(BadRequest, match="template refused"):
        render(source)


def test_a_template_does_not_write_without_end() -> None:
    source = "{% for i in range(1000) %}{% for j in range(1000) %}{{ messages[0].content }}{% endfor %}{% endfor %}"
    template = ChatTemplate({"default": source}, {}, max_characters=10_000)
    with pytest.raises(BadRequest, match="more than 10000 characters"):
        template.render([USER])


def test_where_a_template_is_found(tmp_path: Path) -> None:
    assert ChatTemplate.from_folder(tmp_path) is None
    settings = tmp_path / "tokenizer_config.json"

    def found(override: str | None = None, **options: Any) -> str:
        template = ChatTemplate.from_folder(tmp_path, override)
        assert template is not None
        return template.render([USER], **options)

    settings.write_text(json.dumps({"chat_template": "{{ bos_token }}1", "bos_token": {"content": "B"}}))
    assert found() == "B1"
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    settings.write_text(json.dumps({"chat_template": named}))
    assert (found(), found(tools=[TOOL])) == ("plain", "tools")
    settings.write_text(json.dumps({"chat_template": named[1:]}))
    with pytest.raises(BadRequest, match="no chat template named 'default'; there are tool_use"):
        found()
    (tmp_path / "chat_template.jinja").write_text("file\n{# ü #}")
    assert found() == "file\n"
    assert found("given {{ 1 }}") == "given 1"
    (tmp_path / "other").write_text("other")
    assert found(str(tmp_path / "other")) == "other"
    with pytest.raises(ConfigError, match="no file"):
        found("missing.jinja")


@pytest.mark.parametrize("template", [1, [{"name": "default"}], ["x"], "{% if %}", "{{"])
def test_a_damaged_template_names_its_file(tmp_path: Path, template: object) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        ChatTemplate.from_folder(tmp_path)


def test_templates_know_the_day() -> None:
    assert render("{{ strftime_now('%Y') }}") in {str(datetime.now().year), str(datetime.now().year - 1)}
