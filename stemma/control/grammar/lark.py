"""Grammars of several dialects, put together as one grammar of llguidance's Lark.

A part is *regular* while nothing recursive, no JSON and no special token is in it. Neighbours that are regular
become one terminal, so that where one ends and the other begins is never guessed: between terminals the longest
match wins. https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from llguidance import regex_to_lark

ANY = "/(?s:.*)/"


@dataclass(slots=True, frozen=True)
class Part:
    """A piece of grammar, as Lark spells it."""

    text: str
    regular: bool = True


EMPTY = Part('""')


class Lark:
    """The rules so far. Owned by one translation."""

    def __init__(self, special: Mapping[str, int]):
        self._special = {text: Part(f"<[{token}]>", regular=False) for text, token in special.items()}
        self._rules: list[str] = []
        self._names = 0
        self._cut = re.compile(f"({'|'.join(map(re.escape, sorted(special, key=len, reverse=True)))})")

    def source(self, start: Part) -> str:
        return "\n".join([f"start: {self._inside(start)}", *self._rules]) + "\n"

    def name(self, part: Part) -> Part:
        """The part as a rule or terminal of its own."""
        place = self.place(part.regular)
        self.fill(place, part)
        return place

    def place(self, regular: bool = False) -> Part:
        """A name for what is written later: how a rule leads to itself."""
        self._names += 1
        return Part(f"T{self._names}" if regular else f"r{self._names}", regular)

    def fill(self, place: Part, part: Part) -> None:
        self._rules.append(f"{place.text}: {part.text if place.regular else self._inside(part)}")

    def literal(self, text: str) -> Part:
        """Exactly this text; what spells a special token is that token."""
        if not self._special:
            return quoted(text)
        pieces = [piece for piece in self._cut.split(text) if piece]
        return self.sequence([self._special.get(piece) or quoted(piece) for piece in pieces])

    def has_special(self, text: str) -> bool:
        return bool(self._special) and self._cut.search(text) is not None

    def json(self, schema: object) -> Part:
        return self.name(Part(f"%json {json.dumps(schema)}", regular=False))

    def sequence(self, parts: Sequence[Part]) -> Part:
        """One after the other."""
        parts = [part for part in parts if part != EMPTY]
        if all(part.regular for part in parts):
            return Part(" ".join(map(_grouped, parts))) if parts else EMPTY
        pieces: list[str] = []
        for regular, run in groupby(parts, key=lambda part: part.regular):
            if regular:
                pieces.append(self.name(self.sequence([*run])).text)
            else:
                pieces += map(_grouped, run)
        return Part(" ".join(pieces), regular=False)

    def choice(self, parts: Sequence[Part]) -> Part:
        if len(parts) == 1:
            return parts[0]
        regular = all(part.regular for part in parts)
        return Part(" | ".join(part.text if regular else self._inside(part) for part in parts), regular)

    def repeat(self, part: Part, low: int, high: int | None) -> Part:
        count = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(
            (low, high), f"{{{low},{'' if high is None else high}}}"
        )
        return Part(f"({part.text}){count}", part.regular)

    def _inside(self, part: Part) -> str:
        """As a rule may use it: a regular part needs a name, lest its pieces become terminals each."""
        return self.name(part).text if part.regular else part.text


def quoted(text: str) -> Part:
    return Part(json.dumps(text, ensure_ascii=False)) if text else EMPTY


def pattern(regex: str) -> Part:
    """A regular expression over the whole of its text; `\\d`, `\\w` and `\\s` are those of ASCII, as in RE2."""
    return Part(f"/{regex_to_lark(regex, 'dws')}/")


def without(texts: Sequence[str]) -> Part:
    """Any text in which none of these stands."""
    if not texts:
        return Part(ANY)
    found = "|".join("".join(rf"\u{{{ord(letter):x}}}" for letter in text) for text in texts)
    return Part(f"({ANY} & ~/(?s:.*)({found})(?s:.*)/)")


def _grouped(part: Part) -> str:
    return f"({part.text})" if " " in part.text else part.text
