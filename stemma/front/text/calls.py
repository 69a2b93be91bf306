"""Tool calls, found in an answer while it is written."""

import json
import logging
from collections.abc import Iterable
from typing import Literal

from stemma.front.text.formats import CallFormat
from stemma.front.text.json_value import BLANKS, JsonValue
from stemma.front.text.markers import MAX_BLANKS, Part, safe_end, trimmed

log = logging.getLogger(__name__)


class CallParser:
    """Reads one answer piece by piece; how it was divided never shows.

    A call is told once its name and the beginning of its arguments were read; then its arguments follow as they
    are written. What turns out to be no call is content, as it was written. Where arguments stop being JSON, the
    call ends and the rest is content; what was told before is never taken back. Calls of functions that are not
    among `tools`, and calls after the first unless `many` are wanted, are left out. Blanks around calls are
    nobody's.
    """

    def __init__(self, format: CallFormat, tools: Iterable[str], many: bool = True):
        self._format = format
        self._tools = frozenset(tools)
        self._many = many
        self.count = 0  # calls that were told
        self._place: Literal["content", "call", "end"] = "content"
        self._held = ""  # read, and not yet told: may belong to a marker, or to a call
        self._is_after_call = False
        self._call = JsonCall(format)
        self._is_told = False  # whether this call was
        self._matched = 0  # characters of the end marker
        self._parts: list[Part] = []

    def add(self, text: str) -> list[Part]:
        at = 0
        while at < len(text):
            match self._place:
                case "content":
                    at = self._read_content(text, at)
                case "call":
                    at = self._read_call(text, at)
                case "end":
                    at = self._read_end(text, at)
        return self._take()

    def finish(self) -> list[Part]:
        """The text ends here. A call that was told keeps what there is of its arguments."""
        if self._place == "content" or (self._place == "call" and not self._is_told):
            self._say(self._held)
        elif self._place == "call" and self._call.arguments is not None:
            self._tell("arguments", self._call.arguments.take() + self._call.arguments.held)
        return self._take()

    def _take(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts

    def _tell(self, kind: Literal["content", "call", "arguments"], text: str) -> None:
        if text:
            self._parts.append(Part(kind, text, 0 if kind == "content" else self.count - 1))

    def _say(self, content: str) -> None:
        if self._is_after_call:
            content = content.lstrip()
        self._is_after_call = self._is_after_call and not content
        self._tell("content", content)

    def _read_content(self, text: str, at: int) -> int:
        pending = self._held + text[at:]
        found = pending.find(self._format.begin)
        end = trimmed(pending, found) if found >= 0 else safe_end(pending, [self._format.begin])
        self._say(pending[:end])
        if found < 0:
            self._held = pending[end:]
            return len(text)
        body = found + len(self._format.begin)
        self._held = pending[end:body]
        self._place, self._call, self._is_told = "call", JsonCall(self._format), False
        return len(text) - (len(pending) - body)

    def _read_call(self, text: str, at: int) -> int:
        call = self._call
        held = [self._held]
        while at < len(text) and not call.is_done:
            is_tail = call.arguments is not None and call.arguments.is_done
            if not call.read(text[at]):
                break
            if not self._is_told and call.name in self._tools and call.arguments is not None and self._has_room():
                self._begin_call(call.name)
                held.clear()
            elif not self._is_told or is_tail:
                held.append(text[at])
            at += 1
        self._held = "".join(held)
        if self._is_told and call.arguments is not None:
            self._tell("arguments", call.arguments.take())
        if call.is_done:
            self._end_call()
        elif at < len(text):
            self._break_off()
        return at

    def _has_room(self) -> bool:
        return self._many or self.count == 0

    def _begin_call(self, name: str | None) -> None:
        self._is_told = True
        self.count += 1
        self._tell("call", name or "")

    def _end_call(self) -> None:
        """The object is whole."""
        name = self._call.name
        if name is None:
            self._say(self._held)
            self._place, self._held = "content", ""
            return
        if not self._is_told and name in self._tools and self._has_room():
            self._begin_call(name)
            self._tell("arguments", "{}")
        elif not self._is_told:
            log.warning(
                "a call of %r was left out: %s", name, "no tool" if name not in self._tools else "one is wanted"
            )
        self._expect_end("")

    def _break_off(self) -> None:
        """The next character may not stand where it does."""
        arguments = self._call.arguments
        if self._is_told and arguments is not None and arguments.is_done:
            self._expect_end(self._held)  # only the last brace may be missing
            return
        if self._is_told and arguments is not None:
            self._held = arguments.held
        else:
            self._say(self._held)
            self._held = ""
        self._place = "content"

    def _expect_end(self, held: str) -> None:
        self._place, self._held, self._matched, self._is_after_call = "end", held, 0, True

    def _read_end(self, text: str, at: int) -> int:
        """The end marker, which may be missing."""
        character, end = text[at], self._format.end
        if character == end[self._matched]:
            self._matched += 1
        elif self._matched or character not in BLANKS or len(self._held) > MAX_BLANKS:
            self._place = "content"
            return at
        self._held += character
        if self._matched == len(end):
            self._place, self._held = "content", ""
        return at + 1


class JsonCall:
    """The JSON object of one call. `name` and `arguments` are there as soon as they are known."""

    def __init__(self, format: CallFormat):
        self._format = format
        self.name: str | None = None
        self.arguments: JsonValue | None = None
        self.is_done = False
        self._place: Literal["begin", "first key", "key", "colon", "value", "after"] = "begin"
        self._key = ""
        self._reading: JsonValue | None = None  # a key or a value

    def read(self, character: str) -> bool:
        """False: not read, since no call goes on so."""
        if self._reading is not None:
            is_read = self._reading.read(character)
            if self._reading.is_done:
                self._settle(self._reading)
            if is_read or self._reading is not None:
                return is_read
        if character in BLANKS:
            return True
        match self._place, character:
            case "begin", "{":
                self._place = "first key"
            case (("first key" | "after"), "}"):
                self.is_done = True
            case (("first key" | "key"), '"'):
                self._place = "key"
                return self._begin(character)
            case "colon", ":":
                self._place = "value"
            case "value", _:
                return self._begin(character)
            case "after", ",":
                self._place = "key"
            case _:
                return False
        return True

    def _begin(self, character: str) -> bool:
        self._reading = JsonValue()
        if self._place == "value" and self._key in self._format.arguments and self.arguments is None:
            if character != "{":
                return False
            self.arguments = self._reading
        if self._place == "value" and self._key == self._format.name and character != '"':
            return False
        return self._reading.read(character)

    def _settle(self, value: JsonValue) -> None:
        """A key or a value is whole."""
        self._reading = None
        if self._place == "key":
            self._key, self._place = json.loads(value.take()), "colon"
            return
        self._place = "after"
        if self._key == self._format.name and self.name is None:
            self.name = json.loads(value.take())
