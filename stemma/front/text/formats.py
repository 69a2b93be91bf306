"""How models write tool calls and thoughts: one row for each format."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct


class CallFormat(Struct, frozen=True, kw_only=True):
    """`begin`, a JSON object of a name and its arguments, `end`; as often as there are calls.

    A call that a grammar forces is written with the first of `arguments`, and with `blank` and `between`.
    """

    begin: str
    end: str
    name: str = "name"
    arguments: tuple[str, ...] = ("arguments", "parameters")
    blank: str = "\n"  # between a marker and the object
    between: str = "\n"  # between two calls


class ThoughtFormat(Struct, frozen=True, kw_only=True):
    """`begin`, what the model thinks, `end`, then its answer."""

    begin: str = "<think>"
    end: str = "</think>"
    after: str = "\n\n"  # what a grammar puts behind `end`
    is_forced: bool = False  # the model thinks first even where neither prompt nor answer has `begin`


_TAGS = CallFormat(begin="<tool_call>", end="</tool_call>")

CALLS: Mapping[str, CallFormat] = MappingProxyType({"hermes": _TAGS, "qwen": _TAGS, "qwen25": _TAGS})
THOUGHTS: Mapping[str, ThoughtFormat] = MappingProxyType(
    {
        "qwen3": ThoughtFormat(),
        "qwen3-thinking": ThoughtFormat(is_forced=True),
        "deepseek-r1": ThoughtFormat(is_forced=True),
    }
)
