"""Options as data: a struct's field with its help, bounds and default, told once and read by every door."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from stemma.core.base.numbers import parse_size

Kind = Literal["text", "integer", "size", "number", "switch", "choice"]
Value = str | int | float | bool | None

_KINDS: dict[object, Kind] = {str: "text", int: "integer", float: "number", bool: "switch"}


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside a field's type: `port: Annotated[int, Note("...", "server", low=1)] = 30000`."""

    help: str
    group: str
    low: float | None = None  # the least value allowed
    high: float | None = None  # the largest
    size: bool = False  # may be written 16k or 2GiB
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One field, as a command line, a help page or a keyword argument needs it."""

    name: str
    kind: Kind
    optional: bool  # whether it may be None
    choices: tuple[str | int, ...]
    default: Value
    note: Note

    @property
    def flag(self) -> str:
        return flag(self.name)

    @property
    def bounds(self) -> str:
        """What is allowed, in words; empty when everything is."""
        if self.kind == "choice":
            return ", ".join(str(choice) for choice in self.choices)
        low, high = (None if bound is None else f"{bound:.19g}" for bound in (self.note.low, self.note.high))
        return " ".join(word for word in (low and f"from {low}", high and f"to {high}") if word)

    def read(self, value: object) -> Value:
        """The value, from text or from Python. Raises ValueError that names the value and the limit."""
        if value is None and self.optional:
            return None
        found = self._convert(value)
        if isinstance(found, int | float) and not self._is_within(found):
            raise ValueError(f"{value} is out of range; it goes {self.bounds}")
        return found

    def _convert(self, value: object) -> Value:
        match self.kind, value:
            case "text", str():
                return value
            case "switch", bool():
                return value
            case "choice", _:
                return self._choose(value)
            case ("size", str()):
                return -1 if value == "-1" else parse_size(value)
            case (("integer" | "number"), str()):
                try:
                    return int(value) if self.kind == "integer" else float(value)
                except ValueError:
                    pass
            case (("integer" | "size"), int()) if not isinstance(value, bool):
                return value
            case "number", int() | float() if not isinstance(value, bool):
                return float(value)
        raise ValueError(f"{value!r} is not {'an' if self.kind == 'integer' else 'a'} {self.kind}")

    def _choose(self, value: object) -> str | int:
        for choice in self.choices:
            if str(value) == str(choice):
                return choice
        raise ValueError(f"{value!r} is not one of {self.bounds}")

    def _is_within(self, value: float) -> bool:
        """False for NaN, as soon as there is a bound."""
        low, high = self.note.low, self.note.high
        return (low is None or value >= low) and (high is None or value <= high)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def options_of(struct: type[Struct]) -> tuple[Option, ...]:
    """Every field of a struct in which each is annotated with a `Note`, in its order."""
    hints = get_type_hints(struct, include_extras=True)
    return tuple(_option(field.name, hints[field.name], field.default) for field in msgspec.structs.fields(struct))


def _option(name: str, hint: object, default: Value) -> Option:
    whole, note = get_args(hint)
    literal = get_origin(whole) is Literal
    kinds = (whole,) if literal else get_args(whole) or (whole,)
    optional = NoneType in kinds
    bare = kinds[0]
    choices = get_args(bare) if get_origin(bare) is Literal else ()
    kind: Kind = "choice" if choices else "size" if note.size else _KINDS[bare]
    return Option(name=name, kind=kind, optional=optional, choices=choices, default=default, note=note)


def by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Options by every name that they answer to."""
    return {name: each for each in options for name in (each.name, *each.note.aliases)}
