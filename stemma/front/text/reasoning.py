"""Thoughts, told apart from the answer while both are written."""

from typing import Literal

from stemma.front.text.formats import ThoughtFormat
from stemma.front.text.markers import MAX_BLANKS, Part, safe_end, trimmed


class ThoughtParser:
    """Reads one answer piece by piece; how it was divided never shows.

    Thoughts come first or not at all: a `begin` in the middle of an answer is content. Without an `end` all is
    thought, up to the first `call` marker. Blanks around thoughts are nobody's. `is_open`: the prompt ended
    inside of a thought.
    """

    def __init__(self, format: ThoughtFormat, is_open: bool, call: str | None = None):
        self._format = format
        self._ends = [format.end] if call is None else [format.end, call]
        self._is_open = is_open
        self.place: Literal["start", "thought", "answer"] = "start"
        self._held = ""
        self._skips_blanks = False

    def add(self, text: str) -> list[Part]:
        self._held += text
        if self.place == "start":
            self._read_start()
        parts = self._read_thought() if self.place == "thought" else []
        if self.place == "answer" and self._held:
            parts += self._take(len(self._held), "content")
        return parts

    def finish(self) -> list[Part]:
        is_thought = self.place == "thought" or (self.place == "start" and self._is_open)
        return self._take(len(self._held), "reasoning" if is_thought else "content")

    def _read_start(self) -> None:
        begun = self._held.lstrip()
        blanks = len(self._held) - len(begun)
        may_begin = blanks <= MAX_BLANKS
        if may_begin and len(begun) < len(self._format.begin) and self._format.begin.startswith(begun):
            return  # too early to say
        if may_begin and begun.startswith(self._format.begin):
            self._enter("thought", blanks + len(self._format.begin))
        elif self._is_open:
            self._enter("thought", 0)
        else:
            self.place = "answer"

    def _enter(self, place: Literal["thought", "answer"], skipped: int) -> None:
        self._held = self._held[skipped:]
        self.place, self._skips_blanks = place, True

    def _read_thought(self) -> list[Part]:
        places = {self._held.find(marker): marker for marker in self._ends}
        found = min((at for at in places if at >= 0), default=-1)
        if found < 0:
            return self._take(safe_end(self._held, self._ends), "reasoning")
        end = trimmed(self._held, found)
        parts = self._take(end, "reasoning")
        is_end = places[found] == self._format.end
        self._enter("answer", found - end + (len(self._format.end) if is_end else 0))
        return parts

    def _take(self, size: int, kind: Literal["reasoning", "content"]) -> list[Part]:
        text, self._held = self._held[:size], self._held[size:]
        if self._skips_blanks:
            text = text.lstrip()
            self._skips_blanks = not text
        return [Part(kind, text)] if text else []
