"""Stop strings and stop patterns, found while the text is still growing."""

from array import array
from collections.abc import Sequence

import re2

from stemma.core.base.errors import BadRequest

TAIL_CHARACTERS = 256  # a pattern sees at most so much text that came before
MAX_PROGRAM = 2500  # instructions of all patterns of a request: bounds the time of a search
PATTERN_MEMORY_BYTES = 1 << 20


class Needle:
    """A stop string, looked for by Knuth, Morris and Pratt.

    Their table grows as far as some text has matched: a long string that never shows costs nothing.
    """

    def __init__(self, string: str):
        self.string = string
        self._shorter = array("I", (0, 0))  # [k]: how much of the string its first k characters end with, but all k

    def after(self, depth: int, character: str) -> int:
        """How much of the string a text ends with, which ended with `depth` characters of it before this one."""
        while self.string[depth] != character:
            if depth == 0:
                return 0
            depth = self._shorter[depth]
        depth += 1
        if depth == len(self._shorter):
            self._shorter.append(self.after(self._shorter[-1], character))
        return depth


class Stops:
    """All that ends one request's text; made once, shared by its continuations.

    Both kinds take linear time on any text; patterns run on RE2, which keeps those that were compiled last.
    Raises BadRequest for a pattern that RE2 refuses, or that is too costly.
    """

    def __init__(self, strings: Sequence[str] = (), patterns: Sequence[str] = ()):
        self.needles = [Needle(string) for string in strings]
        self.patterns = [(pattern, _compile(pattern)) for pattern in patterns]
        size = sum(compiled.programsize for _, compiled in self.patterns)
        if size > MAX_PROGRAM:
            raise BadRequest(
                f"the stop patterns compile to {size} instructions, and {MAX_PROGRAM} are allowed; "
                "use fewer repetitions or smaller character classes",
                "stop_regex",
            )


class StopFinder:
    """Reads one text piece by piece and finds the first stop.

    The stop that ends first wins; of two that end together, a string wins over a pattern and the longer
    string over the shorter. A stop string is cut off, unless `trim` is false. Text is held back while it
    may become a stop string, so what was said is never taken back; a pattern's match is therefore kept,
    and the text ends with it. How the text was divided into pieces shows only in where patterns are
    tried: after each piece.
    """

    def __init__(self, stops: Stops, trim: bool = True):
        self._stops = stops
        self._has_any = bool(stops.needles or stops.patterns)
        self._trim = trim
        self._depths = [0] * len(stops.needles)  # how much of each stop string the text ends with
        self._held = ""
        self._tail = ""
        self._is_tail_cut = False
        self.found: str | None = None  # the string or pattern that was found; nothing may be added after
        self.found_within = 0  # how much of the last piece the match spans, to its end

    def add(self, text: str) -> str:
        """Read a piece; returns what may be said now."""
        if not text or not self._has_any:
            return text
        string, string_end = self._find_string(text)
        pattern, pattern_end = self._find_pattern(text) if self._stops.patterns else (None, 0)
        pending = self._held + text
        if string is not None and (pattern is None or string_end <= pattern_end):
            self.found, self.found_within = string, string_end
            cut = len(self._held) + string_end - (len(string) if self._trim else 0)
        elif pattern is not None:
            self.found, self.found_within = pattern, pattern_end
            cut = max(0, len(self._held) + pattern_end)
        else:
            cut = len(pending) - max(self._depths, default=0)
        self._held = "" if self.found is not None else pending[cut:]
        return pending[:cut]

    def finish(self) -> str:
        """The text ends here: what was held back is text after all."""
        held, self._held = self._held, ""
        return held

    def _find_string(self, text: str) -> tuple[str | None, int]:
        """The stop string that ends first in the piece, the longest of those that end there, and where."""
        matches: list[tuple[int, str]] = []
        for number, needle in enumerate(self._stops.needles):
            depth, string = self._depths[number], needle.string
            if depth == 0 and string[0] not in text:
                continue
            for end, character in enumerate(text, start=1):
                depth = needle.after(depth, character)
                if depth == len(string):
                    matches.append((end, string))
                    break
            self._depths[number] = depth
        end, found = min(matches, key=lambda match: (match[0], -len(match[1])), default=(0, None))
        return found, end

    def _find_pattern(self, text: str) -> tuple[str | None, int]:
        """The match that ends first, relative to the piece. It may end before it, when a pattern looks one ahead."""
        window = self._tail + text
        # One character before the tail is kept, so that ^ and \b see that the text did not begin there.
        spans = [
            (pattern, compiled.search(window, int(self._is_tail_cut))) for pattern, compiled in self._stops.patterns
        ]
        matches = [(match.end(), pattern) for pattern, match in spans if match is not None]
        if matches:
            end, pattern = min(matches, key=lambda match: match[0])
            return pattern, end - len(self._tail)
        self._is_tail_cut = self._is_tail_cut or len(window) > TAIL_CHARACTERS + 1
        self._tail = window[-TAIL_CHARACTERS - 1 :]
        return None, 0


def _compile(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
        raise BadRequest(f"the stop pattern {pattern!r} cannot be used: {text}", "stop_regex") from None
