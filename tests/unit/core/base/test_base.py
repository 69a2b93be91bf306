"""Tools without opinions."""

import pytest

from stemma.core.base.clock import process_seconds
from stemma.core.base.errors import BadRequest, TooLong, UnknownName
from stemma.core.base.numbers import ceil_div, format_bytes, parse_size, round_up
from stemma.core.base.registry import Registry


def test_an_unknown_name_lists_the_known_ones() -> None:
    shapes = Registry[type]("shape", {"round": "collections:deque", "square": "collections:OrderedDict"})
    assert shapes["round"].__name__ == "deque"
    assert shapes.names() == ["round", "square"]
    with pytest.raises(UnknownName, match="no shape 'oval'; there are round, square"):
        shapes["oval"]


@pytest.mark.parametrize(("text", "size"), [("8192", 8192), ("16k", 16000), ("2GiB", 2 << 30), ("1.5 MB", 1_500_000)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "12 parsecs", "-3", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_integers_round_up() -> None:
    assert [ceil_div(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert [round_up(n, 16) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
    assert format_bytes(3 << 20) == "3.00 MiB"


def test_a_bad_request_names_its_field() -> None:
    error = TooLong("9 tokens exceed 8", field="input_ids")
    assert isinstance(error, BadRequest) and error.status == 400 and error.field == "input_ids"


def test_the_process_is_older_than_nothing() -> None:
    first = process_seconds()
    assert 0 < first <= process_seconds() < 24 * 3600
