"""What JSON schemas are made of."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

T = TypeVar("T")
Schema: TypeAlias = Mapping[str, object] | bool

TYPES = ("null", "boolean", "object", "array", "number", "string")
OF_PYTHON = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
FORMATS = frozenset(  # that the library serves
    "date-time date time duration email hostname ipv4 ipv6 uuid uri unknown".split()
)
STANDARD = frozenset(  # that it does not; a format of neither list means nothing
    "idn-email idn-hostname uri-reference iri iri-reference uri-template json-pointer relative-json-pointer "
    "regex".split()
)


class Unserved(GrammarError):
    """A keyword, in a place where no grammar can hold an answer to it."""

    def __init__(self, what: str):
        super().__init__(f"json_schema: {what} cannot be served here; leave it out, or say it with other keywords")


def kind_of(value: object) -> str:
    return OF_PYTHON.get(type(value), "null")


def union(options: Sequence[Schema]) -> Schema:
    if True in options:
        return True
    options = [option for option in options if option is not False]
    return False if not options else options[0] if len(options) == 1 else {"anyOf": options}


def both(parts: Sequence[Schema]) -> Schema:
    if False in parts:
        return False
    parts = [part for part in parts if part is not True]
    return True if not parts else parts[0] if len(parts) == 1 else {"allOf": parts}


def _kept(value: object, kind: type[T], what: str) -> T:
    if isinstance(value, kind):
        return value
    raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where {what} must")


def checked(value: object) -> Schema:
    return value if isinstance(value, bool) else _kept(value, dict, "a schema")


def parts_of(value: object) -> Mapping[str, object]:
    return _kept(value, dict, "an object")


def values_of(value: object, what: str = "a list") -> list[object]:
    return _kept(value, list, what)


def schemas(value: object) -> list[Schema]:
    return [checked(each) for each in values_of(value, "a list of schemas")]


def named(value: object) -> Mapping[str, Schema]:
    return {name: checked(each) for name, each in parts_of(value).items()}


def strings(value: object) -> list[str]:
    return [_kept(each, str, "a string") for each in values_of(value, "a list of strings")]


def read_json(grammar: Grammar) -> object:
    """What the text of a grammar says, if it is JSON."""
    try:
        return json.loads(grammar.source)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"{grammar.kind}: this is not JSON: {error}") from None
