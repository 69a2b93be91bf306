"""Structural tags: free text with constrained islands. Both forms, translated to Lark.

What a tag's `end` or a trigger spells stands nowhere in the free text before it, so that where an island begins is
never in doubt.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from stemma.control.grammar.ebnf import add_ebnf
from stemma.control.grammar.lark import EMPTY, Lark, Part, pattern, without
from stemma.core.base.errors import GrammarError

Json: TypeAlias = Mapping[str, object]
Schema: TypeAlias = Callable[[object], object]


class Tags:
    """Translates one structural tag. `served` makes a schema one that the library serves."""

    def __init__(self, lark: Lark, served: Schema):
        self._lark = lark
        self._served = served

    def translate(self, tag: object) -> str:
        try:
            found = tag["format"] if "format" in tag else modern(tag)  # type: ignore[index, operator, arg-type]
            return self._lark.source(self.part(found))
        except (KeyError, TypeError, AttributeError) as error:
            raise GrammarError(f"structural_tag: {error!r}: a field is missing or of the wrong type") from None

    def part(self, format: Json) -> Part:
        match format["type"]:
            case "const_string":
                return self._lark.literal(text_of(format, "value"))
            case "json_schema":
                return self._lark.json(self._served(format["json_schema"]))
            case "any_text":
                return without(texts_of(format, "excludes"))
            case "regex":
                return pattern(text_of(format, "pattern"))
            case "grammar":
                return add_ebnf(text_of(format, "grammar"), self._lark)
            case "sequence":
                return self._lark.sequence([self.part(each) for each in formats_of(format, "elements")])
            case "or":
                return self._lark.choice([self.part(each) for each in formats_of(format, "elements")])
            case "tag":
                return self._tag(format, text_of(format, "begin"))
            case "triggered_tags":
                return self._triggered(format)
            case "tags_with_separator":
                return self._separated(format)
            case other:
                raise GrammarError(f"structural_tag: no format {other!r} is served; write it as a grammar")

    def _tag(self, tag: Json, begin: str, before: Part = EMPTY) -> Part:
        content, end = tag["content"], text_of(tag, "end")
        assert isinstance(content, Mapping)
        if content["type"] == "any_text" and not self._lark.has_special(end):
            inner = without([*texts_of(content, "excludes"), *([end] if end else [])])
        else:
            inner = self.part(content)
        return self._lark.sequence([before, self._lark.literal(begin), inner, self._lark.literal(end)])

    def _triggered(self, format: Json) -> Part:
        triggers = texts_of(format, "triggers")
        free = without([trigger for trigger in triggers if not self._lark.has_special(trigger)])
        tags = formats_of(format, "tags")
        for begin in (text_of(tag, "begin") for tag in tags):
            if not any(begin.startswith(trigger) for trigger in triggers):
                raise GrammarError(f"structural_tag: the tag {begin!r} begins with none of the triggers {triggers}")
        tag = self._lark.choice([self._tag(tag, text_of(tag, "begin"), free) for tag in tags])
        first = bool(format.get("at_least_one"))
        if format.get("stop_after_first"):
            return tag if first else self._lark.choice([tag, free])
        return self._lark.sequence([self._lark.repeat(tag, int(first), None), free])

    def _separated(self, format: Json) -> Part:
        tags = [self._tag(tag, text_of(tag, "begin")) for tag in formats_of(format, "tags")]
        tag = self._lark.choice(tags)
        if not tag.regular:
            tag = self._lark.name(tag)
        if not format.get("stop_after_first"):
            more = self._lark.sequence([self._lark.literal(text_of(format, "separator")), tag])
            tag = self._lark.sequence([tag, self._lark.repeat(more, 0, None)])
        return tag if format.get("at_least_one") else self._lark.repeat(tag, 0, 1)


def modern(tag: Json) -> Json:
    """The older form, `structures` that begin with one of `triggers`, in the newer."""
    tags = [
        {"begin": each["begin"], "end": each["end"], "content": {"type": "json_schema", "json_schema": each["schema"]}}
        for each in formats_of(tag, "structures")
    ]
    first = bool(tag.get("at_least_one"))
    return {"type": "triggered_tags", "triggers": tag["triggers"], "tags": tags, "at_least_one": first}


def text_of(format: Json, name: str) -> str:
    found = format[name]
    if not isinstance(found, str):
        raise GrammarError(f"structural_tag: {name} must be a string, and is {json.dumps(found)[:80]}")
    return found


def texts_of(format: Json, name: str) -> Sequence[str]:
    found = format.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise GrammarError(f"structural_tag: {name} must be a list of strings that are not empty")
    return found


def formats_of(format: Json, name: str) -> Sequence[Json]:
    found = format[name]
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise GrammarError(f"structural_tag: {name} must be a list of objects, one at least")
    return found
