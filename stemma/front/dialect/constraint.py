"""What an answer must match, as clients write it."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stemma.core.base.errors import BadRequest
from stemma.core.types.grammar import MAX_GRAMMAR_CHARACTERS, Grammar, GrammarKind
from stemma.front.dialect.body import misfit
from stemma.front.service.promise import Promise, Wanted

FIELDS: tuple[GrammarKind, ...] = ("json_schema", "regex", "ebnf", "structural_tag")

Schema = dict[str, object] | bool


class Structure(Struct):
    begin: str
    schema: Schema
    end: str


class StructuralTag(Struct, tag_field="type", tag="structural_tag", omit_defaults=True):
    """Either a `format`, or the older form: `structures` that begin with one of `triggers`."""

    format: dict[str, object] | UnsetType = UNSET
    structures: list[Structure] | UnsetType = UNSET
    triggers: list[str] | UnsetType = UNSET
    at_least_one: bool | None = None

    def check(self, field: str) -> None:
        is_old = self.structures is not UNSET and self.triggers is not UNSET
        if (self.format is UNSET) != is_old:
            raise BadRequest(f"{field}: give a format, or structures and triggers", field)


def read_grammar(given: Mapping[str, object], under: str = "") -> Wanted | None:
    """The one constraint that `given`, which stood at `under`, asks for. What is empty asks for nothing."""
    named = [name for name in FIELDS if given.get(name)]
    if not named:
        return None
    check_alone([f"{under}.{name}".lstrip(".") for name in named])
    return wanted(named[0], given[named[0]], f"{under}.{named[0]}".lstrip("."))


def check_alone(fields: list[str]) -> None:
    if len(fields) > 1:
        raise BadRequest(
            f"{' and '.join(fields)}: an answer can be held to one of them; leave the others out", fields[1]
        )


def wanted(kind: GrammarKind, source: object, field: str) -> Wanted:
    """Raises BadRequest unless it is of the right form; whether it means something is found later."""
    if not isinstance(source, str):
        raise BadRequest(f"{field}: give a string, not {type(source).__name__}", field)
    if len(source) > MAX_GRAMMAR_CHARACTERS:
        raise BadRequest(f"{field}: {len(source)} characters; give at most {MAX_GRAMMAR_CHARACTERS}", field)
    if "\x00" in source or not is_unicode(source):
        raise BadRequest(f"{field}: holds a NUL or half of a surrogate pair, which no text has", field)
    if kind == "json_schema":
        parsed(source, Schema, field)
    elif kind == "structural_tag":
        parsed(source, StructuralTag, field).check(field)
    return Wanted(Grammar(kind, source), field)


def wanted_json(kind: GrammarKind, value: object, field: str) -> Wanted:
    """Of a value that stood in the body as it is."""
    try:
        return wanted(kind, json.dumps(value, ensure_ascii=False), field)
    except RecursionError:
        raise BadRequest(f"{field}: nested too deeply", field) from None


def promise_of(content: Wanted | None) -> Promise | None:
    """Of an answer that is nothing but content."""
    return Promise(grammar=content.grammar, content=content) if content else None


def parsed(source: str, kind: Any, field: str) -> Any:
    try:
        return msgspec.json.decode(source, type=kind)
    except msgspec.ValidationError as error:
        raise misfit(error, field) from None
    except RecursionError:
        raise BadRequest(f"{field}: nested too deeply", field) from None
    except ValueError as error:
        raise BadRequest(f"{field}: no JSON: {error}", field) from None


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
