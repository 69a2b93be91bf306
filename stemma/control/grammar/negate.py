"""The opposite of a schema's keywords."""

from collections.abc import Iterator, Mapping

from stemma.control.grammar.parts import (
    FORMATS,
    STANDARD,
    TYPES,
    Schema,
    Unserved,
    checked,
    kind_of,
    named,
    schemas,
    strings,
    union,
)

OPPOSITE = {
    "minimum": ("number", "exclusiveMaximum", 0),
    "maximum": ("number", "exclusiveMinimum", 0),
    "exclusiveMinimum": ("number", "maximum", 0),
    "exclusiveMaximum": ("number", "minimum", 0),
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
}
TRIED_ITEMS = 3  # of which one breaks what all must keep


def breaches(plain: Mapping[str, object]) -> Iterator[tuple[str, Schema | Unserved]]:
    """Ways to break one of these keywords, each with its name. Some have none."""
    for name in plain:
        try:
            yield from ((name, way) for way in _breaches_of(name, plain))
        except Unserved as error:
            yield name, error


def _breaches_of(name: str, plain: Mapping[str, object]) -> Iterator[Schema]:
    value = plain[name]
    match name:
        case "type":
            names = [value] if isinstance(value, str) else strings(value)
            taken = {"number" if each == "integer" else each for each in names}
            yield union([*({"type": other} for other in TYPES if other not in taken)])
        case "const":
            yield another(value)
        case "enum" if isinstance(value, list):
            yield {"allOf": [another(each) for each in value]}
        case "required":
            yield from ({"type": "object", "properties": {each: False}} for each in strings(value))
        case "properties":
            for key, each in named(value).items():
                yield {"type": "object", "required": [key], "properties": {key: {"not": each}}}
        case "prefixItems":
            for at, each in enumerate(schemas(value)):
                yield {"type": "array", "minItems": at + 1, "prefixItems": [*[True] * at, {"not": each}]}
        case "items" | "additionalProperties" if value is True or value == {}:
            pass
        case "items":
            first = len(schemas(plain.get("prefixItems", [])))
            for at in range(first, first + TRIED_ITEMS):
                yield {"type": "array", "minItems": at + 1, "prefixItems": [*[True] * at, {"not": checked(value)}]}
        case "patternProperties" if all(each is True or each == {} for each in named(value).values()):
            pass
        case "format" if value not in FORMATS | STANDARD:
            pass
        case _ if name in OPPOSITE and isinstance(value, int | float):
            kind, other, step = OPPOSITE[name]
            if value + step >= 0 or kind == "number":
                yield {"type": kind, other: value + step}
        case _:
            raise Unserved(f"not of {name}")


def another(value: object) -> Schema:
    """Every value but one."""
    return {"anyOf": [{"not": {"type": kind_of(value)}}, *_others(value)]}


def _others(value: object) -> Iterator[Schema]:
    """Of the same type."""
    match value:
        case bool():
            yield {"const": not value}
        case int() | float():
            yield from ({"type": "number", side: value} for side in ("exclusiveMaximum", "exclusiveMinimum"))
        case str():
            yield {"type": "string", "pattern": f"^({other_words(value)})$"}
        case list():
            yield {"type": "array", "minItems": len(value) + 1}
            if value:
                yield {"type": "array", "maxItems": len(value) - 1}
            yield from _breaches_of("prefixItems", {"prefixItems": [{"const": item} for item in value]})


def other_words(word: str) -> str:
    """A pattern of every string but one."""
    found = r"(.|\n)+"
    for letter in reversed(word):
        exact = rf"\u{ord(letter):04x}" if ord(letter) < 0x10000 else rf"\U{ord(letter):08x}"
        found = rf"|[^{exact}](.|\n)*|{exact}({found})"
    return found
