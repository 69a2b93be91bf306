"""Options as data: reading values from text and from Python."""

from typing import Annotated, Literal

import pytest
from msgspec import Struct

from stemma.core.config.field import Note, Option, by_name, options_of


class Sample(Struct, frozen=True, kw_only=True):
    name: Annotated[str | None, Note("a name", "first", aliases=("called",))] = None
    rows: Annotated[int, Note("rows", "first", low=1, high=10)] = 2
    memory: Annotated[int | None, Note("bytes", "second", low=-1, high=1 << 40, size=True)] = None
    share: Annotated[float, Note("share", "second", low=0, high=1)] = 0.5
    loud: Annotated[bool, Note("loud", "second")] = False
    width: Annotated[Literal[1, 2, 4], Note("width", "second")] = 1
    order: Annotated[Literal["up", "down"] | None, Note("order", "second")] = None


OPTIONS = by_name(options_of(Sample))


def test_every_field_is_an_option_in_its_order() -> None:
    assert [option.name for option in options_of(Sample)] == [
        *("name", "rows", "memory", "share", "loud", "width", "order")
    ]
    assert OPTIONS["called"] is OPTIONS["name"]


def test_flags_bounds_and_kinds() -> None:
    kinds = {option.name: (option.kind, option.optional) for option in options_of(Sample)}
    assert kinds == {
        "name": ("text", True),
        "rows": ("integer", False),
        "memory": ("size", True),
        "share": ("number", False),
        "loud": ("switch", False),
        "width": ("choice", False),
        "order": ("choice", True),
    }
    assert OPTIONS["rows"].bounds == "from 1 to 10"
    assert OPTIONS["order"].bounds == "up, down"
    assert OPTIONS["name"].bounds == ""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("name", "x", "x"),
        ("name", None, None),
        ("rows", "10", 10),
        ("rows", 1, 1),
        ("memory", "2GiB", 2 << 30),
        ("memory", "16k", 16000),
        ("memory", "-1", -1),
        ("memory", 5, 5),
        ("memory", None, None),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("loud", True, True),
        ("width", "4", 4),
        ("width", 2, 2),
        ("order", "up", "up"),
        ("order", None, None),
    ],
)
def test_values_are_read(name: str, value: object, expected: object) -> None:
    found = OPTIONS[name].read(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("name", 3, "3 is not a text"),
        ("rows", "0", "0 is out of range; it goes from 1 to 10"),
        ("rows", 11, "11 is out of range"),
        ("rows", "x", "'x' is not an integer"),
        ("rows", True, "True is not an integer"),
        ("rows", None, "None is not an integer"),
        ("rows", 1.5, "1.5 is not an integer"),
        ("memory", "2 Gigs", "'2 Gigs' is not a size"),
        ("memory", -2, "-2 is out of range"),
        ("share", "nan", "nan is out of range"),
        ("share", float("inf"), "inf is out of range"),
        ("loud", 1, "1 is not a switch"),
        ("width", "3", "'3' is not one of 1, 2, 4"),
        ("width", True, "True is not one of"),
        ("order", "left", "'left' is not one of up, down"),
    ],
)
def test_an_error_names_the_value_and_the_limit(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match="is ") as caught:
        OPTIONS[name].read(value)
    assert says in str(caught.value)


def test_an_option_is_a_value() -> None:
    assert options_of(Sample) == options_of(Sample)
    assert isinstance(OPTIONS["rows"], Option)
