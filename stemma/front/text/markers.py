"""Markers in a text that is still growing: where a part of a message begins or ends."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

MAX_BLANKS = 64  # so many before or behind a marker belong to it; they are held until it shows or does not


class Part(Struct, frozen=True):
    """A piece of an assistant's message. Pieces of one kind and call, joined in order, are the whole."""

    kind: Literal["reasoning", "content", "call", "arguments"]
    text: str  # of a call: the name of its function
    call: int = 0  # which call of the message, from 0


def safe_end(text: str, markers: Sequence[str]) -> int:
    """How much of the text belongs to no marker, whatever comes next; blanks before a marker are the marker's."""
    end = len(text)
    for marker in markers:
        longest = min(len(marker) - 1, len(text))
        begun = next((size for size in range(longest, 0, -1) if text.endswith(marker[:size])), 0)
        end = min(end, len(text) - begun)
    return trimmed(text, end)


def trimmed(text: str, end: int) -> int:
    """Where the blanks before `end` begin."""
    return max(end - MAX_BLANKS, len(text[:end].rstrip()))
