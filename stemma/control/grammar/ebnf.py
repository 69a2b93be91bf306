"""The EBNF dialect of GBNF and its kin: `root ::= "a" [b-z]* rest?`, translated to Lark.

A rule that leads to itself stays a rule; every other becomes a terminal, which is exact. Between two terminals the
longest match wins, so a rule that leads to itself must not begin with what a terminal before it may go on with.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(slots=True, frozen=True)
class Token:
    kind: str
    text: str
    place: int


@dataclass(slots=True, frozen=True)
class Repeat:
    part: "Tree"
    low: int
    high: int | None


@dataclass(slots=True, frozen=True)
class Name:
    text: str


@dataclass(slots=True, frozen=True)
class Branch:
    """Alternatives, each a sequence."""

    options: tuple[tuple["Tree", ...], ...]


Tree: TypeAlias = Branch | Repeat | Name | Part


def add_ebnf(source: str, lark: Lark) -> Part:
    """The whole grammar as one part, its recursive rules being added to `lark`."""
    rules = _Reader(source, lark).rules()
    if "root" not in rules:
        raise GrammarError(f"ebnf: there is no rule 'root', where an answer begins; there are {', '.join(rules)}")
    return _Writer(rules, lark).rule("root")


class _Reader:
    """Text to trees."""

    def __init__(self, source: str, lark: Lark):
        self._lark = lark
        self._tokens = [*_tokens(source), Token("end", "the end", len(source))]
        self._at = 0
        self._depth = 0

    def rules(self) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        while self._next.kind != "end":
            name = self._take("rule").text
            if name in found:
                raise GrammarError(f"ebnf: the rule {name!r} is written twice")
            found[name] = self._branch()
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, kind: str, text: str | None = None) -> Token:
        token = self._next
        if token.kind != kind or (text is not None and token.text != text):
            raise GrammarError(f"ebnf: {token.text!r} at {token.place} stands where {text or 'a ' + kind} was expected")
        self._at += 1
        return token

    def _branch(self) -> Tree:
        options = [self._sequence()]
        while self._next.text == "|" and self._next.kind == "sign":
            self._at += 1
            options.append(self._sequence())
        return Branch(tuple(options))

    def _sequence(self) -> tuple[Tree, ...]:
        found: list[Tree] = []
        while self._next.kind in ("name", "string", "set") or self._next.text in ("(", "."):
            part = self._one()
            while self._next.kind == "count":
                part = _repeated(part, self._take("count"))
            found.append(part)
        return tuple(found)

    def _one(self) -> Tree:
        token = self._next
        self._at += 1
        match token.kind:
            case "name":
                return Name(token.text)
            case "string":
                return self._lark.literal(_unescaped(token.text[1:-1]))
            case "set":
                return Part(f"/{_set(token)}/")
        if token.text == ".":
            return Part("/(?s:.)/")
        self._depth += 1
        if self._depth > DEEPEST:
            raise GrammarError(f"ebnf: groups lie deeper than {DEEPEST} in each other; name some of them as rules")
        inner = self._branch()
        self._take("sign", ")")
        self._depth -= 1
        return inner


class _Writer:
    """Trees to Lark."""

    def __init__(self, rules: dict[str, Tree], lark: Lark):
        self._rules = rules
        self._lark = lark
        self._done: dict[str, Part] = {}
        self._loops = _recursive(rules)

    def rule(self, name: str) -> Part:
        if name not in self._done:
            if name in self._loops:
                self._done[name] = place = self._lark.place()
                self._lark.fill(place, self._write(self._rules[name]))
            else:
                self._done[name] = self._lark.name(self._write(self._rules[name]))
        return self._done[name]

    def _write(self, tree: Tree) -> Part:
        match tree:
            case Part():
                return tree
            case Name(text=name):
                return self.rule(name)
            case Repeat(part=part, low=low, high=high):
                return self._lark.repeat(self._write(part), low, high)
            case Branch(options=options):
                return self._lark.choice(
                    [self._lark.sequence([self._write(part) for part in option]) for option in options]
                )


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


def _repeated(part: Tree, count: Token) -> Repeat:
    simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if count.text in simple:
        return Repeat(part, *simple[count.text])
    low, comma, high = (piece.strip() for piece in count.text[1:-1].partition(","))
    most = int(high) if high else None if comma else int(low)
    if max(int(low), most or 0) > MOST_REPEATS or (most is not None and most < int(low)):
        raise GrammarError(f"ebnf: {count.text} at {count.place} must rise, to {MOST_REPEATS} at most")
    return Repeat(part, int(low), most)


def _names(tree: Tree) -> Iterator[str]:
    match tree:
        case Name(text=text):
            yield text
        case Repeat(part=part):
            yield from _names(part)
        case Branch(options=options):
            for option in options:
                for part in option:
                    yield from _names(part)
        case Part():
            pass


def _recursive(rules: dict[str, Tree]) -> frozenset[str]:
    """Rules that lead to themselves."""
    uses = {name: list(dict.fromkeys(_names(tree))) for name, tree in rules.items()}
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
