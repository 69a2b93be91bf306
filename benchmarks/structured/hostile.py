"""Grammars that somebody might send to harm others: deep, recursive, huge, ambiguous. A seed tells which."""

import json
from collections.abc import Callable, Iterator
from random import Random

from stemma.core.types.grammar import Grammar, GrammarKind

LETTERS = "abcdefgh"


def hostile(seed: int) -> Iterator[Grammar]:
    """Without end, every kind in turn; no two are equal."""
    random = Random(seed)
    while True:
        for make in MAKERS:
            kind, source = make(random)
            yield Grammar(kind, source if isinstance(source, str) else json.dumps(source))


def word(random: Random, length: int = 8) -> str:
    return "".join(random.choices(LETTERS, k=length))


def nested(random: Random) -> tuple[GrammarKind, object]:
    schema: object = {"const": word(random)}
    for _ in range(random.randrange(10, 200)):
        schema = {"type": "array", "items": schema} if random.random() < 0.5 else {"properties": {"a": schema}}
    return "json_schema", schema


def recursive(random: Random) -> tuple[GrammarKind, object]:
    """Every definition leads to many others."""
    names = [word(random) for _ in range(random.randrange(5, 60))]
    defs = {
        name: {"type": "object", "properties": {each: {"$ref": f"#/$defs/{each}"} for each in random.sample(names, 4)}}
        for name in names
    }
    return "json_schema", {"$ref": f"#/$defs/{names[0]}", "$defs": defs}


def enormous_enum(random: Random) -> tuple[GrammarKind, object]:
    return "json_schema", {"enum": [word(random, 20) for _ in range(random.randrange(1000, 8000))]}


def many_properties(random: Random) -> tuple[GrammarKind, object]:
    names = [word(random) for _ in range(random.randrange(100, 1500))]
    return "json_schema", {"type": "object", "properties": {name: {"type": "integer"} for name in names}}


def overlapping(random: Random) -> tuple[GrammarKind, object]:
    """Choices that are hard to tell apart, under words that must be rewritten."""
    choices = [{"type": "string", "pattern": f"^({word(random, 3)}|.*{word(random, 2)}.*)$"} for _ in range(12)]
    name = random.choice(["oneOf", "anyOf", "allOf"])
    return "json_schema", {name: choices, "not": {"const": word(random)}, "minLength": random.randrange(5000)}


def bounded(random: Random) -> tuple[GrammarKind, object]:
    return "json_schema", {"type": "array", "minItems": random.randrange(1, 10**6), "items": {"maxLength": 10**6}}


def catastrophe(random: Random) -> tuple[GrammarKind, object]:
    """What a matcher that goes back would try in exponentially many ways."""
    return "regex", f"(({word(random, 2)}|a)*a?)*{word(random, 1)}{{1,{random.randrange(2, 2000)}}}!"


def determinized(random: Random) -> tuple[GrammarKind, object]:
    """The n-th letter from the end: 2**n states."""
    return "regex", f"[a-h]*{word(random, 1)}[a-h]{{{random.randrange(10, 500)}}}"


def powers(random: Random) -> tuple[GrammarKind, object]:
    return "regex", f"((({word(random, 2)}{{0,100}}){{0,100}}){{0,{random.randrange(2, 100)}}}){{0,100}}"


def long_word(random: Random) -> tuple[GrammarKind, object]:
    return "regex", f"{word(random, 4)}{{{random.randrange(1000, 20_000)}}}"


def chained(random: Random) -> tuple[GrammarKind, object]:
    rules = random.randrange(500, 8000)
    lines = [f't{at} ::= "{word(random, 2)}" t{at + 1} "b"' for at in range(rules)]
    return "ebnf", "\n".join(["root ::= t0", *lines, f't{rules} ::= "x"'])


def ambiguous(random: Random) -> tuple[GrammarKind, object]:
    return "ebnf", f'root ::= e\ne ::= e e | e e e | "{word(random, 1)}" | "" | "(" e ")" | e "{word(random, 1)}" e'


def left_recursive(random: Random) -> tuple[GrammarKind, object]:
    names = [word(random) for _ in range(random.randrange(5, 200))]
    lines = [f'{name} ::= {random.choice(names)} | {random.choice(names)} "a" | "b"' for name in names]
    return "ebnf", "\n".join([f"root ::= {names[0]}", *lines])


def tags(random: Random) -> tuple[GrammarKind, object]:
    made = [
        {
            "type": "tag",
            "begin": f"<{word(random)}>",
            "content": {"type": "json_schema", "json_schema": nested(random)[1]},
            "end": "<",
        }
        for _ in range(random.randrange(1, 12))
    ]
    format = {"type": "triggered_tags", "triggers": ["<"], "tags": made, "at_least_one": True}
    return "structural_tag", {"type": "structural_tag", "format": format}


def noise(random: Random) -> tuple[GrammarKind, object]:
    kinds: list[GrammarKind] = ["json_schema", "regex", "ebnf", "structural_tag"]
    return random.choice(kinds), "".join(random.choices('{}[]()|*+?\\"ab:=,<>^$.', k=random.randrange(1, 200)))


MAKERS: tuple[Callable[[Random], tuple[GrammarKind, object]], ...] = (
    nested,
    recursive,
    enormous_enum,
    many_properties,
    overlapping,
    bounded,
    catastrophe,
    determinized,
    powers,
    long_word,
    chained,
    ambiguous,
    left_recursive,
    tags,
    noise,
)
