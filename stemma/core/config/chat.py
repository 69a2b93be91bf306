"""What a folder says of conversations: tokenizer_config.json, the chat template, and what the template implies."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from stemma.core.base.errors import CheckpointError, ConfigError

ToolCallParser = Literal["hermes", "qwen", "qwen25"]
ReasoningParser = Literal["qwen3", "qwen3-thinking", "deepseek-r1"]

OTHER_CALLS = ("<function=", "<arg_key>", "<arg_value>", "<tool_sep>")  # `<tool_call>` around no JSON


class Templates(Struct, frozen=True):
    """Chat templates by name, as they were found."""

    sources: dict[str, str]
    origin: str

    def mention(self, marker: str) -> bool:
        return any(marker in source for source in self.sources.values())


def read_templates(folder: str | Path, override: str | None = None) -> Templates | None:
    """`override` is a path or the template itself; else chat_template.jinja, else tokenizer_config.json.

    None when the model has none: it is no chat model.
    """
    if override is not None:
        return Templates({"default": _read_override(override)}, "the chat template that was given")
    path = Path(folder) / "chat_template.jinja"
    if path.is_file():
        return Templates({"default": path.read_text(encoding="utf-8")}, str(path))
    path = Path(folder) / "tokenizer_config.json"
    found = read_settings(folder).get("chat_template")
    if found is None:
        return None
    try:
        named = msgspec.convert([{"name": "default", "template": found}] if isinstance(found, str) else found,
                                list[dict[str, str]])  # fmt: skip
        return Templates({item["name"]: item["template"] for item in named}, str(path))
    except (msgspec.ValidationError, KeyError) as error:
        raise CheckpointError(f"{path}: chat_template is neither text nor a list of named templates") from error


def read_settings(folder: str | Path) -> dict[str, object]:
    """tokenizer_config.json, or nothing when there is none."""
    path = Path(folder) / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def implied_tool_calls(templates: Templates | None) -> tuple[ToolCallParser | None, str]:
    """The parser that a template implies, and why."""
    if templates is None or not templates.mention("<tool_call>"):
        return None, "the chat template says nothing of <tool_call>"
    if other := _first(templates, OTHER_CALLS):
        return None, f"the chat template writes calls with {other}, which is not read yet"
    return "hermes", "the chat template mentions <tool_call>"


def implied_reasoning(templates: Templates | None) -> tuple[ReasoningParser | None, str]:
    """The parser that a template implies, and why. Never one that takes an answer for a thought unseen."""
    if templates is None or not _first(templates, ("<think>", "</think>")):
        return None, "the chat template says nothing of <think>"
    return "qwen3", "the chat template mentions <think>"


def _first(templates: Templates, markers: Iterable[str]) -> str | None:
    return next((marker for marker in markers if templates.mention(marker)), None)


def _read_override(override: str) -> str:
    path = Path(override)
    if "\n" not in override and len(override) < 4096 and path.is_file():
        return path.read_text(encoding="utf-8")
    if "{" not in override:
        raise ConfigError(f"chat_template {override!r} is no file, and no template either")
    return override
