import re
import time
import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest

from stemma.core.base.errors import BadRequest
from stemma.front.text.stop import MAX_PROGRAM, TAIL_CHARACTERS, StopFinder, Stops


def pieces_of(text: str, random: Random) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = random.randrange(4)
        yield text[at : at + size]
        at += size


def run(finder: StopFinder, pieces: Iterator[str] | list[str]) -> tuple[str, str | None]:
    """What is said in all, and what was found."""
    said = ""
    for piece in pieces:
        said += finder.add(piece)
        if finder.found is not None:
            return said, finder.found
    return said + finder.finish(), finder.found


def first_stop(text: str, strings: list[str]) -> tuple[int, str] | None:
    """By brute force: the end of the string that ends first, the longest of those that end there."""
    for end in range(1, len(text) + 1):
        ending = [string for string in strings if text[:end].endswith(string)]
        if ending:
            return end, max(ending, key=len)
    return None


@pytest.mark.parametrize("trim", [True, False])
def test_the_first_stop_string_is_found_however_the_text_is_divided(trim: bool) -> None:
    random = Random(7)
    found_any = 0
    for _ in range(4000):
        strings = ["".join(random.choices("ab日", k=random.randrange(1, 5))) for _ in range(random.randrange(1, 4))]
        text = "".join(random.choices("ab日c", k=random.randrange(14)))
        expected = first_stop(text, strings)
        said, found = run(StopFinder(Stops(strings), trim), pieces_of(text, random))
        if expected is None:
            assert (said, found) == (text, None)
        else:
            end, string = expected
            assert (said, found) == (text[: end - len(string) * trim], string)
            found_any += 1
    assert found_any > 1000


def test_no_more_is_held_back_than_may_become_a_stop() -> None:
    random = Random(8)
    for _ in range(1000):
        strings = ["".join(random.choices("ab", k=random.randrange(1, 6))) for _ in range(3)]
        text = "".join(random.choices("abc", k=12))
        finder, said = StopFinder(Stops(strings)), ""
        for at, character in enumerate(text, start=1):
            said += finder.add(character)
            if finder.found is not None:
                break
            longest = max(k for s in strings for k in range(len(s)) if text[:at].endswith(s[:k]))
            assert len(said) == at - longest


def test_where_in_the_last_piece_a_match_ends() -> None:
    finder = StopFinder(Stops(["\n\n"]))
    assert finder.add("one\n") == "one"
    assert finder.add("\ntwo") == ""
    assert (finder.found, finder.found_within) == ("\n\n", 1)


def test_a_pattern_is_kept_and_ends_the_text() -> None:
    random = Random(9)
    for _ in range(300):
        text = "".join(random.choices("a1 b", k=20)) + "77"
        match = re.search("[0-9]{2}", text)
        assert match is not None
        said, found = run(StopFinder(Stops([], ["[0-9]{2}"])), pieces_of(text, random))
        assert (said, found) == (text[: match.end()], "[0-9]{2}")


def test_whatever_ends_first_wins_and_a_string_wins_a_tie() -> None:
    stops = Stops(["end"], ["n", "d"])
    assert run(StopFinder(stops), ["the end"]) == ("the en", "n")
    assert run(StopFinder(Stops(["end"], ["d"])), ["the end"]) == ("the ", "end")
    assert run(StopFinder(Stops(["end"], ["x", "he"])), ["the ", "end"]) == ("the", "he")


def test_a_pattern_sees_text_that_is_held_back_for_a_string() -> None:
    assert run(StopFinder(Stops(["abcd"], ["bc"])), ["a", "b", "c", "d"]) == ("abc", "bc")


def test_a_pattern_sees_a_bounded_tail_and_knows_that_it_is_one() -> None:
    long = "x" * (TAIL_CHARACTERS + 100)
    assert run(StopFinder(Stops([], ["a[^z]*z"])), ["a", long, "z"])[1] is None
    assert run(StopFinder(Stops([], ["a[^z]*z"])), ["a", long[: TAIL_CHARACTERS - 2], "z"])[1] is not None
    assert run(StopFinder(Stops([], ["^x{3}y"])), ["axxx", long, "xxxy"])[1] is None
    assert run(StopFinder(Stops([], [r"\bx{3}y"])), [long, "xxxy"])[1] is None
    assert run(StopFinder(Stops([], ["^x{3}y"])), ["xx", "xy"])[1] is not None


def test_a_pattern_that_looks_one_ahead_takes_nothing_back() -> None:
    finder = StopFinder(Stops([], [r"foo\B"]))
    assert finder.add("foo") == "foo"
    assert (finder.add("d"), finder.found, finder.found_within) == ("", r"foo\B", 0)


@pytest.mark.parametrize("pattern", ["(", "(?<=a)b", r"(a)\1", "a{1001}", "\ud800", r"(\pL|\pN){100}"])
def test_patterns_that_cannot_be_used_are_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match=r"cannot be used|instructions") as error:
        Stops([], [pattern])
    assert error.value.field == "stop_regex"


def test_costly_patterns_are_refused_together() -> None:
    pattern = "(.{1,12}){1,12}x"
    Stops([], [pattern])
    with pytest.raises(BadRequest, match=str(MAX_PROGRAM)):
        Stops([], [pattern] * 32)


def test_no_pattern_takes_long() -> None:
    finder = StopFinder(Stops([], ["(a*)*(a|b|ab)*c", "(x+x+)+y"]))
    started = time.perf_counter()
    for _ in range(200):
        finder.add("aaaabxxxx")
    assert time.perf_counter() - started < 2


def test_long_strings_cost_nothing_until_they_show() -> None:
    """A body of 48 kB may name 32 long stops for 4096 prompts."""
    strings = ["ab" * 511 + chr(0x100 + at) for at in range(32)]
    tracemalloc.start()
    many = [Stops(strings) for _ in range(100)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size / len(many) < 20_000
    assert run(StopFinder(many[0]), ["ab" * 700, "\u0105 on"]) == ("ab" * 189, strings[5])


def test_many_long_strings_that_nearly_match_take_linear_time() -> None:
    finder = StopFinder(Stops(["a" * 1023 + chr(0x100 + at) for at in range(32)]))
    started = time.perf_counter()
    said = sum(len(finder.add("a" * 5)) for _ in range(20_000))
    assert said == 100_000 - 1023
    assert time.perf_counter() - started < 5
