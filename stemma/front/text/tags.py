"""One message, one grammar: thoughts, content and calls as a structural tag, made of the rows that parsers read by.

What a parser would read as the beginning of a call stands nowhere in a text that is free, so that parser and
grammar see the same message.
"""

import json
from collections.abc import Mapping, Sequence

from msgspec import Struct

from stemma.core.types.grammar import Grammar
from stemma.front.text.formats import CallFormat, ThoughtFormat

Json = Mapping[str, object]


class Calls(Struct, frozen=True, kw_only=True):
    """The functions that may be called, each with the schema that its arguments are held to."""

    format: CallFormat
    schemas: Mapping[str, object]
    must: bool  # call at least one, and say nothing else
    many: bool

    def only(self) -> Json:
        """Calls and nothing else."""
        return {
            "type": "tags_with_separator",
            "tags": self._tags(),
            "separator": self.format.between,
            "at_least_one": True,
            "stop_after_first": not self.many,
        }

    def in_text(self) -> Json:
        """Calls anywhere in a text that is free."""
        return {
            "type": "triggered_tags",
            "triggers": [self.format.begin],
            "tags": self._tags(),
            "stop_after_first": not self.many,
        }

    def _tags(self) -> Sequence[Json]:
        form = self.format
        return [
            {
                "type": "tag",
                "begin": f"{form.begin}{form.blank}{{{json.dumps(form.name)}: {json.dumps(name, ensure_ascii=False)}, "
                f"{json.dumps(form.arguments[0])}: ",
                "content": {"type": "json_schema", "json_schema": schema},
                "end": f"}}{form.blank}{form.end}",
            }
            for name, schema in self.schemas.items()
        ]


class Thoughts(Struct, frozen=True):
    """What the model may think before it answers."""

    format: ThoughtFormat
    is_open: bool  # the prompt ends inside of a thought

    def before(self, answer: Json, excluded: Sequence[str]) -> Json:
        """A thought, free but for what is `excluded`, and then the answer; or the answer alone."""
        form = self.format
        text = {"type": "any_text", "excludes": list(excluded)} if excluded else {"type": "any_text"}
        thought = {"type": "tag", "begin": "" if self.is_open else form.begin, "content": text, "end": form.end}
        thinking = sequence(thought, {"type": "const_string", "value": form.after}, answer)
        return thinking if self.is_open else {"type": "or", "elements": [thinking, answer]}


def message_grammar(content: Grammar | None, calls: Calls | None, thoughts: Thoughts | None) -> Grammar | None:
    """What a whole message must match; None: anything. Content is free unless it has a grammar or calls must be."""
    if content is None and calls is None:
        return None
    if calls is None and thoughts is None:
        return content
    if content is None and calls is not None and not calls.must:
        return tag_of(calls.in_text())  # a call may end a thought: thoughts need no tag
    choices = [] if content is None else [format_of(content)]
    choices += [] if calls is None else [calls.only()]
    answer = choices[0] if len(choices) == 1 else {"type": "or", "elements": choices}
    if thoughts is not None:
        answer = thoughts.before(answer, [calls.format.begin] if calls else [])
    return tag_of(answer)


def format_of(content: Grammar) -> Json:
    """A grammar as a part of a structural tag."""
    match content.kind:
        case "json_schema":
            return {"type": "json_schema", "json_schema": json.loads(content.source)}
        case "regex":
            return {"type": "regex", "pattern": content.source}
        case "ebnf":
            return {"type": "grammar", "grammar": content.source}
        case "structural_tag":
            tag = json.loads(content.source)
            return tag["format"] if "format" in tag else format_of_old(tag)


def format_of_old(tag: Json) -> Json:
    """The older form: `structures` that begin with one of `triggers`."""
    structures = tag["structures"]
    assert isinstance(structures, list)  # the door has looked
    return {
        "type": "triggered_tags",
        "triggers": tag["triggers"],
        "tags": [
            {
                "type": "tag",
                "begin": each["begin"],
                "content": {"type": "json_schema", "json_schema": each["schema"]},
                "end": each["end"],
            }
            for each in structures
        ],
        "at_least_one": tag.get("at_least_one") or False,
    }


def tag_of(format: Json) -> Grammar:
    return Grammar("structural_tag", json.dumps({"type": "structural_tag", "format": format}, ensure_ascii=False))


def sequence(*elements: Json) -> Json:
    return {"type": "sequence", "elements": elements}
