"""The tools that a request offers: what they must be, and what is done with them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stemma.core.base.errors import BadRequest
from stemma.front.dialect.body import misfit

MAX_TOOLS = 256
MAX_DEPTH = 32  # of a schema
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
ALIASES = {
    alias: kind
    for kind, aliases in {
        "string": "str text varchar char uuid date time datetime timestamp",
        "number": "float float32 float64 double decimal numeric",
        "integer": "int int8 int16 int32 int64 long short bigint smallint",
        "boolean": "bool",
        "object": "dict map",
        "array": "list tuple set",
    }.items()
    for alias in aliases.split()
}

Json = Mapping[str, object]
Tools = Annotated[list[dict[str, object]], Meta(max_length=MAX_TOOLS)]
ToolChoice = str | dict[str, object]


class Function(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: object = None  # a JSON schema: the client's own object, where aliases of types are replaced
    strict: bool | None = None


class Tool(Struct):
    function: Function
    type: Literal["function"] = "function"


class FunctionName(Struct):
    name: str


class NamedTool(Struct):
    """A `tool_choice` that names a function."""

    function: FunctionName
    type: Literal["function"] = "function"


class Chosen(Struct, frozen=True):
    """The functions that may be called, by the fields of their schemas."""

    functions: Mapping[str, Function] = {}
    must: bool = False
    many: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(function.name for function in self.functions.values())


def check_tools(tools: Sequence[Json]) -> Mapping[str, Function]:
    """The tools' functions, by the fields of their schemas. Raises BadRequest for what no model could call."""
    functions: dict[str, Function] = {}
    for at, tool in enumerate(tools):
        where = f"tools[{at}]"
        try:
            function = msgspec.convert(tool, Tool).function
        except msgspec.ValidationError as error:
            raise misfit(error, where) from None
        if any(function.name == other.name for other in functions.values()):
            raise BadRequest(f"{where}.function.name: {function.name!r} is there already", f"{where}.function.name")
        if function.parameters is not None:
            check_schema(function.parameters, f"{where}.function.parameters")
        functions[f"{where}.function.parameters"] = function
    return functions


def choose(functions: Mapping[str, Function], choice: ToolChoice | None, many: bool) -> Chosen:
    """What may be called, and whether something must. A function that is named is called once."""
    if choice == "none":
        return Chosen()
    if choice in (None, "auto"):
        return Chosen(functions, False, many)
    if choice == "required":
        if not functions:
            raise BadRequest("tool_choice: 'required' without tools; send some", "tool_choice")
        return Chosen(functions, True, many)
    try:
        name = msgspec.convert(choice, NamedTool).function.name
    except msgspec.ValidationError:
        raise BadRequest(
            f"tool_choice: {str(choice)[:64]!r} is none of 'auto', 'none', 'required' and a function", "tool_choice"
        ) from None
    named = {field: function for field, function in functions.items() if function.name == name}
    if not named:
        raise BadRequest(f"tool_choice: {name[:64]!r} is not among the tools", "tool_choice.function.name")
    return Chosen(named, True, False)


def check_schema(schema: object, at: str, depth: int = 0) -> None:
    """Raise for a schema that is none, at the place where it is not. Types of other languages become JSON's."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise BadRequest(f"{at}: a schema is an object or a boolean", at)
    if depth == MAX_DEPTH:
        raise BadRequest(f"{at}: schemas are nested more than {MAX_DEPTH} deep", at)
    if "type" in schema:
        schema["type"] = type_of(schema["type"], f"{at}.type")
    for keyword in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
        inner = schema.get(keyword, {})
        if not isinstance(inner, dict):
            raise BadRequest(f"{at}.{keyword}: not an object of schemas", f"{at}.{keyword}")
        for name, each in inner.items():
            check_schema(each, f"{at}.{keyword}.{name[:64]}", depth + 1)
    for keyword in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
        if keyword in schema:
            check_schema(schema[keyword], f"{at}.{keyword}", depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for number, each in enumerate(check_list(schema, keyword, at)):
            check_schema(each, f"{at}.{keyword}[{number}]", depth + 1)
    check_list(schema, "enum", at)
    if not all(isinstance(name, str) for name in check_list(schema, "required", at)):
        raise BadRequest(f"{at}.required: not a list of names", f"{at}.required")


def type_of(kind: object, at: str) -> object:
    """One type, or a list of them, in JSON's names."""
    if isinstance(kind, list):
        return [type_named(each, at) for each in kind]
    return type_named(kind, at)


def type_named(name: object, at: str) -> str:
    if not isinstance(name, str):
        raise BadRequest(f"{at}: neither a name nor a list of names", at)
    found = ALIASES.get(name.lower(), name)
    if found not in TYPES:
        raise BadRequest(f"{at}: {name[:64]!r} is none of {', '.join(TYPES)}", at)
    return found


def check_list(schema: Json, keyword: str, at: str) -> list[object]:
    found = schema.get(keyword, [])
    if not isinstance(found, list):
        raise BadRequest(f"{at}.{keyword}: not a list", f"{at}.{keyword}")
    return found
