"""Stop strings and stop patterns, found while the text is still growing."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import re2

from stemma.core.base.errors import BadRequest

TAIL_CHARACTERS = 256  # a pattern sees at most so much text that came before
MAX_PROGRAM = 2500  # instructions of all patterns of a request: bounds the time of a search
PATTERN_MEMORY_BYTES = 1 << 20


@dataclass(slots=True, eq=False)
class Node:
    """What was read last is the beginning of a stop string, `depth` characters of it."""

    depth: int
    next: "dict[str, Node]" = field(default_factory=dict)
    shorter: "Node | None" = None  # the longest proper suffix that begins a stop string; None: the root's
    stop: str | None = None  # the longest stop string that ends here


class Stops:
    """All that ends one request's text; made once, shared by its continuations.

    Stop strings are one Aho-Corasick automaton, patterns run on RE2: both take linear time on any input.
    Raises BadRequest for a pattern that RE2 refuses, or that is too costly.
    """

    def __init__(self, strings: Sequence[str] = (), patterns: Sequence[str] = ()):
        self.root = _automaton(strings)
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
        self._trim = trim
        self._node = stops.root
        self._held = ""
        self._tail = ""
        self._is_tail_cut = False
        self.found: str | None = None  # the string or pattern that was found; nothing may be added after
        self.found_within = 0  # how much of the last piece the match spans, to its end

    def add(self, text: str) -> str:
        """Read a piece; returns what may be said now."""
        if not text:
            return ""
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
            cut = len(pending) - self._node.depth
        self._held = "" if self.found is not None else pending[cut:]
        return pending[:cut]

    def finish(self) -> str:
        """The text ends here: what was held back is text after all."""
        held, self._held = self._held, ""
        return held

    def _find_string(self, text: str) -> tuple[str | None, int]:
        root, node = self._stops.root, self._node
        if not root.next:
            return None, 0
        for at, character in enumerate(text):
            while character not in node.next and node.shorter is not None:
                node = node.shorter
            node = node.next.get(character, root)
            if node.stop is not None:
                return node.stop, at + 1
        self._node = node
        return None, 0

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


def _automaton(strings: Sequence[str]) -> Node:
    root = Node(0)
    for string in strings:
        node = root
        for character in string:
            node = node.next.setdefault(character, Node(node.depth + 1))
        node.stop = string
    queue = deque(root.next.values())
    for node in queue:
        node.shorter = root
    while queue:
        node = queue.popleft()
        for character, child in node.next.items():
            shorter = node.shorter
            while shorter is not None and character not in shorter.next:
                shorter = shorter.shorter
            child.shorter = root if shorter is None else shorter.next[character]
            child.stop = child.stop or child.shorter.stop
            queue.append(child)
    return root
