"""The EBNF dialect of GBNF and its kin: `root ::= "a" [b-z]* rest?`, translated to Lark.

A rule that leads to itself stays a rule; every other becomes a terminal, which is exact. Between two terminals the
longest match wins, so a rule that leads to itself must not begin with what a terminal before it may go on with.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stemma.control.grammar.lark import Lark, Part
from stemma.core.base.errors import GrammarError

TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<rule>[A-Za-z_][\w-]*)\s*::=
      | (?P<name>[A-Za-z_][\w-]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<set>\[(?:[^\]\\]|\\.)*\])
      | (?P<count>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})
      | (?P<sign>[()|.])""",
    re.VERBOSE,
)
ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
NAMED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
MOST_REPEATS = 10_000
DEEPEST = 200  # groups in groups
END = "the end of the rule"


@dataclass(slots=True, frozen=True)
class Token:
    kind: str
    text: str
    place: int


def add_ebnf(source: str, lark: Lark) -> Part:
    """The whole grammar as one part, its recursive rules being added to `lark`."""
    rules = _rules(source)
    if "root" not in rules:
        raise GrammarError(f"ebnf: there is no rule 'root', where an answer begins; there are {', '.join(rules)}")
    reader = _Reader(rules, lark)
    root = reader.rule("root")
    for name in rules:  # those that are not used may have errors too
        reader.rule(name)
    return root


class _Reader:
    """Reads every rule once, where it is used first. A line is the tokens that are left of one."""

    def __init__(self, rules: Mapping[str, Sequence[Token]], lark: Lark):
        self._rules = rules
        self._lark = lark
        self._done: dict[str, Part] = {}
        self._loops = _recursive(rules)

    def rule(self, name: str) -> Part:
        if name not in self._done:
            line = deque(self._rules[name])
            if name in self._loops:
                self._done[name] = place = self._lark.place()
                self._lark.fill(place, self._branch(line, 0))
            else:
                self._done[name] = self._lark.name(self._branch(line, 0))
            _take(line, END)
        return self._done[name]

    def _branch(self, line: deque[Token], depth: int) -> Part:
        options = [self._sequence(line, depth)]
        while line[0].text == "|":
            line.popleft()
            options.append(self._sequence(line, depth))
        return self._lark.choice(options)

    def _sequence(self, line: deque[Token], depth: int) -> Part:
        found: list[Part] = []
        while line[0].kind in ("name", "string", "set") or line[0].text in ("(", "."):
            part = self._one(line, depth)
            while line[0].kind == "count":
                part = self._lark.repeat(part, *_counts(line.popleft()))
            found.append(part)
        return self._lark.sequence(found)

    def _one(self, line: deque[Token], depth: int) -> Part:
        token = line.popleft()
        match token.kind:
            case "name":
                return self.rule(token.text)
            case "string":
                return self._lark.literal(_unescaped(token.text[1:-1]))
            case "set":
                return Part(f"/{_set(token)}/")
        if token.text == ".":
            return Part("/(?s:.)/")
        if depth == DEEPEST:
            raise GrammarError(f"ebnf: groups lie deeper than {DEEPEST} in each other; name some of them as rules")
        inner = self._branch(line, depth + 1)
        _take(line, ")")
        return inner


def _take(line: deque[Token], text: str) -> None:
    token = line.popleft()
    if token.text != text:
        raise GrammarError(f"ebnf: {token.text!r} at {token.place} stands where {text!r} was expected")


def _rules(source: str) -> dict[str, list[Token]]:
    """The tokens of each rule, and its end."""
    found: dict[str, list[Token]] = {}
    line: list[Token] = []
    for token in (*_tokens(source), Token("rule", "", len(source))):
        if token.kind != "rule":
            line.append(token)
            continue
        if token.text in found:
            raise GrammarError(f"ebnf: the rule {token.text!r} is written twice")
        if line and not found:
            raise GrammarError(f"ebnf: {line[0].text!r} at {line[0].place} stands where a rule was expected")
        line.append(Token("end", END, token.place))
        line = found[token.text] = []
    del found[""]
    return found


def _tokens(source: str) -> Iterator[Token]:
    place = 0
    while place < len(source):
        found = TOKEN.match(source, place)
        if found is None or found.lastgroup is None:
            raise GrammarError(f"ebnf: {source[place : place + 20]!r} at {place} cannot be read")
        if found.lastgroup != "space":
            yield Token(found.lastgroup, found[found.lastgroup], place)
        place = found.end()


def _unescaped(text: str) -> str:
    return ESCAPE.sub(lambda found: _letter(found[1]), text)


def _letter(escape: str) -> str:
    try:
        return chr(int(escape[1:], 16)) if len(escape) > 1 else NAMED.get(escape, escape)
    except ValueError:
        raise GrammarError(f"ebnf: \\{escape} is no character") from None


def _set(token: Token) -> str:
    """A set of characters as the library reads it, every one by its number."""
    body = token.text[1:-1]
    negated = body.startswith("^")
    pieces = re.findall(r"\\(?:x..|u....|U........|.)|[^\\]", body[negated:], re.DOTALL)
    letters = [(_unescaped(piece), piece == "-") for piece in pieces]
    found = "".join(
        "-" if dash and 0 < at < len(letters) - 1 else rf"\u{{{ord(letter):x}}}"
        for at, (letter, dash) in enumerate(letters)
    )
    if not found:
        raise GrammarError(f"ebnf: the set {token.text} at {token.place} is empty")
    return f"[{'^' * negated}{found}]"


def _counts(token: Token) -> tuple[int, int | None]:
    simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if token.text in simple:
        return simple[token.text]
    low, comma, high = (piece.strip() for piece in token.text[1:-1].partition(","))
    most = int(high) if high else None if comma else int(low)
    if max(int(low), most or 0) > MOST_REPEATS or (most is not None and most < int(low)):
        raise GrammarError(f"ebnf: {token.text} at {token.place} must rise, to {MOST_REPEATS} at most")
    return int(low), most


def _recursive(rules: Mapping[str, Sequence[Token]]) -> frozenset[str]:
    """Rules that lead to themselves."""
    uses = {name: [token.text for token in line if token.kind == "name"] for name, line in rules.items()}
    for name, used in uses.items():
        for other in used:
            if other not in rules:
                raise GrammarError(f"ebnf: the rule {name!r} uses {other!r}, which is not written")

    def reaches(start: str) -> bool:
        seen: set[str] = set()
        line = list(uses[start])
        while line:
            name = line.pop()
            if name not in seen:
                seen.add(name)
                line += uses[name]
        return start in seen

    return frozenset(name for name in rules if reaches(name))
