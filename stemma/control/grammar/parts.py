"""What JSON schemas are made of."""

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

Schema: TypeAlias = Mapping[str, object] | bool

TYPES = ("null", "boolean", "object", "array", "number", "string")
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


def union(options: Sequence[Schema]) -> Schema:
    if True in options:
        return True
    options = [option for option in options if option is not False]
    return False if not options else options[0] if len(options) == 1 else {"anyOf": options}


def checked(value: object) -> Schema:
    if isinstance(value, bool | Mapping):
        return value
    raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where a schema must")


def schemas(value: object) -> list[Schema]:
    if not isinstance(value, list):
        raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where a list of schemas must")
    return [checked(each) for each in value]


def parts_of(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where an object must")
    return value


def named(value: object) -> Mapping[str, Schema]:
    return {name: checked(each) for name, each in parts_of(value).items()}


def values_of(value: object) -> list[object]:
    if not isinstance(value, list):
        raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where a list must")
    return value


def strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise GrammarError(f"json_schema: {str(value)[:80]!r} stands where a list of strings must")
    return value


def unquote(step: str) -> str:
    """One step of a JSON pointer in a URL."""
    return urllib.parse.unquote(step).replace("~1", "/").replace("~0", "~")


def read_json(grammar: Grammar) -> object:
    """What the text of a grammar says, if it is JSON."""
    try:
        return json.loads(grammar.source)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"{grammar.kind}: this is not JSON: {error}") from None
