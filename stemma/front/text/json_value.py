"""JSON read character by character, as a model writes it."""

import re
from typing import Literal

MAX_DEPTH = 200
BLANKS = " \t\n\r"
SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
SCALAR_CHARACTERS = frozenset("0123456789+-.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
ESCAPES = frozenset('"\\/bfnrt')

State = Literal["value", "first item", "first key", "key", "colon", "after", "string", "escape", "hex", "scalar"]


class JsonValue:
    """One value, of which `take` returns what is new.

    Always: what was taken, joined, begins some valid JSON; when `is_done`, it is valid JSON. Control characters
    inside strings, which JSON forbids and models write, are escaped. A number, true, false or null is `held`
    until the character behind it is known.
    """

    def __init__(self) -> None:
        self.is_done = False
        self.held = ""
        self._state: State = "value"
        self._open: list[str] = []  # what closes each object and list that is open
        self._is_key = False  # whether the string being read is one
        self._digits = 0  # of \uXXXX, still to come
        self._new: list[str] = []

    def take(self) -> str:
        new = "".join(self._new)
        self._new.clear()
        return new

    def read(self, character: str) -> bool:
        """False: not read. Then the value is done, or `character` may not stand here."""
        if self._state in ("string", "escape", "hex"):
            return self._read_in_string(character)
        if self._state == "scalar":
            if character in SCALAR_CHARACTERS:
                self.held += character
                return True
            if not SCALAR.fullmatch(self.held):
                return False
            self._new.append(self.held)
            self.held = ""
            self._end_value()
            if self.is_done:
                return False
        if character in BLANKS or self._read_between(character):
            if self._state != "scalar":
                self._new.append(character)
            return True
        return False

    def _read_in_string(self, character: str) -> bool:
        if self._state == "string":
            if character == '"':
                self._end_string()
            elif character == "\\":
                self._state = "escape"
            elif character < " ":
                character = f"\\u{ord(character):04x}"
        elif self._state == "escape":
            if character not in ESCAPES and character != "u":
                return False
            self._digits = 4
            self._state = "hex" if character == "u" else "string"
        else:
            if character not in HEXADECIMAL:
                return False
            self._digits -= 1
            self._state = "hex" if self._digits else "string"
        self._new.append(character)
        return True

    def _read_between(self, character: str) -> bool:
        match self._state, character:
            case (("after" | "first item" | "first key"), ("]" | "}")):
                if self._open[-1] != character:
                    return False
                self._open.pop()
                self._end_value()
            case "after", ",":
                self._state = "key" if self._open[-1] == "}" else "value"
            case "colon", ":":
                self._state = "value"
            case (("first key" | "key"), '"'):
                self._state, self._is_key = "string", True
            case (("value" | "first item"), _):
                return self._begin_value(character)
            case _:
                return False
        return True

    def _begin_value(self, character: str) -> bool:
        if character == '"':
            self._state, self._is_key = "string", False
        elif character in "{[" and len(self._open) < MAX_DEPTH:
            self._open.append("}" if character == "{" else "]")
            self._state = "first key" if character == "{" else "first item"
        elif character in SCALAR_CHARACTERS:
            self._state, self.held = "scalar", character
        else:
            return False
        return True

    def _end_string(self) -> None:
        if self._is_key:
            self._state = "colon"
        else:
            self._end_value()

    def _end_value(self) -> None:
        self._state = "after"
        self.is_done = not self._open
