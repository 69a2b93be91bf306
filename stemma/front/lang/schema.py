"""Types that answers can be held to: their JSON schemas, and how a value is read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from stemma.front.lang.errors import Misuse, Unreadable
from stemma.front.lang.sampling import Json, is_cut


@dataclass(frozen=True, slots=True)
class Shape:
    """What an answer of a type looks like. `read` makes a value of JSON text."""

    schema: Json
    read: Callable[[str], object]

    def value(self, text: str, meta: Json) -> object:
        """Raises Unreadable when the text is none, or was cut off: then the value would have been another."""
        has_no_end = is_cut(meta)
        problem: Exception | None = None
        try:
            value = self.read(text)
            if not (has_no_end and text[-1:].isdigit()):  # a number alone does not say where it ends
                return value
        except (msgspec.MsgspecError, ValueError) as error:
            problem = error
        why = "was cut off; raise max_tokens" if has_no_end else f"is not of the type that was asked for ({problem})"
        raise Unreadable(f"the answer {why}. It ends with {text[-80:]!r}") from problem


def shape_of(kind: Any) -> Shape:
    """Of a pydantic model, by its own methods, or of what msgspec knows: structs, dataclasses, builtin types."""
    try:
        return _shape_of(kind)
    except (TypeError, RecursionError) as error:
        raise Misuse(
            f"schema is a pydantic model, a msgspec.Struct, a dataclass or a type such as list[int], not {kind!r} "
            f"({error}); what is written as JSON goes to json_schema"
        ) from error


@lru_cache(maxsize=256)  # a program says the same type in every run
def _shape_of(kind: Any) -> Shape:
    if hasattr(kind, "model_json_schema"):
        return Shape(_closed(kind.model_json_schema()), kind.model_validate_json)
    return Shape(_closed(msgspec.json.schema(kind)), msgspec.json.Decoder(kind).decode)


def _closed(schema: Any) -> Any:
    """Objects have the properties that are listed and no others, unless the type says so itself."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(each) for name, each in schema.items()}
    is_open = inner.get("type") != "object" or "properties" not in inner
    return inner if is_open else {"additionalProperties": False, **inner}
