"""Whether every answer that came to its own end is valid: hot sampling under schemas, patterns and EBNF grammars.

    python -m benchmarks.structured.validity SAMPLE [--every N] [--tokens 200]

SAMPLE is MaskBench's (see maskbench.py). Each schema, pattern and grammar is answered once by acorn, and once by a
model of its shape with random weights, at temperature 1.5. Judges are jsonschema, `re`, and for EBNF an expression or a
program of its own. One JSON line per model and kind: how many answers were complete, how many of these invalid, how
many were cut off, how many requests were refused. An invalid one is printed, and ends the run with status 1.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.facts import report
from benchmarks.structured.maskbench import lines_of, validates
from stemma.core.base.errors import BadRequest
from stemma.core.config.embedded import embedded_model_path
from stemma.offline import Engine

AT_ONCE = 32
PATTERNS = [
    r"(a|b)*abb",
    r"\d{3}-\d{4}",
    r"[^x]{1,5}x",
    r"(foo|bar|ba)+!",
    r"\w{1,8}@\w{3}\.(com|org)",
    r"(?i:yes|no)",
    r".{4}",
    r"é{2}|ß?",
    r"(\+|-)?[1-9]\d{0,5}(\.\d{1,3})?",
    r"(?:[01]\d|2[0-3]):[0-5]\d",
    r"#[0-9a-fA-F]{6}",
    r"([A-Z][a-z]{1,6} ){1,3}[A-Z][a-z]{1,6}\.",
    r"\s{0,3}\S{1,4}",
]
GRAMMARS = {
    'root ::= sum\nsum ::= one ("+" one){0,3}\none ::= [1-9] [0-9]{0,2} | "(" sum ")"': r"[0-9+()]+",
    'root ::= "[" item ("," item)* "]"\nitem ::= "first item" | "second item"': r"\[\w+ item(,\w+ item)*\]",
    'root ::= "" | "a" root "b"': r"a*b*",
    'root ::= line{1,4}\nline ::= [a-z]+ ":" [ ] [0-9]+ "\\n"': r"([a-z]+: [0-9]+\n){1,4}",
    "root ::= [α-ω]{2,5} [^a-z]": r"[α-ω]{2,5}[^a-z]",
}


class Case(NamedTuple):
    kind: str
    source: str
    is_valid: Callable[[str], bool]


def cases(sample: Path, every: int) -> Iterator[Case]:
    for line in lines_of(sample, every):
        yield Case("json_schema", json.dumps(line.schema), partial(_fits, line.schema))
    for pattern in PATTERNS:
        yield Case("regex", pattern, partial(_matches, pattern))
    for grammar, pattern in GRAMMARS.items():
        yield Case("ebnf", grammar, partial(_is_said, grammar, pattern))


def _fits(schema: dict[str, Any] | bool, text: str) -> bool:
    return validates(schema, json.loads(text))


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII) is not None


def _is_said(grammar: str, pattern: str, text: str) -> bool:
    if not re.fullmatch(pattern, text):
        return False
    if "sum" in grammar:
        return isinstance(eval(text), int)  # sums are Python too
    return "root" not in grammar.partition("=")[2] or text.count("a") == text.count("b")


def outcome(engine: Engine, tokens: int, case: Case) -> str:
    asked = {"temperature": 1.5, "max_new_tokens": tokens, "sampling_seed": 1, case.kind: case.source}
    try:
        answer: Any = engine.generate("Answer: ", asked)
    except BadRequest:
        return "refused"
    if answer["meta_info"]["finish_reason"]["type"] == "length":
        return "cut_off"
    if case.is_valid(answer["text"]):
        return "valid"
    print(f"invalid under {case.kind} {case.source[:2000]}: {answer['text']!r}", file=sys.stderr)
    return "invalid"


def main() -> None:
    parser = argparse.ArgumentParser(description="hot answers, judged")
    parser.add_argument("sample", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take one schema of so many")
    parser.add_argument("--tokens", type=int, default=200, help="that an answer may have")
    args = parser.parse_args()
    todo = list(cases(args.sample, args.every))
    invalid = 0
    for model in ("acorn", "random"):
        options = {"model_path": str(embedded_model_path()), "load_format": "dummy"} if model == "random" else {}
        with Engine(**options, max_running_requests=AT_ONCE) as engine, ThreadPoolExecutor(AT_ONCE) as threads:
            outcomes = threads.map(partial(outcome, engine, args.tokens), todo)
            found = Counter(zip((case.kind for case in todo), outcomes, strict=True))
        for kind in dict.fromkeys(case.kind for case in todo):
            counts = {name: found[kind, name] for name in ("valid", "invalid", "cut_off", "refused")}
            invalid += counts["invalid"]
            report("structured_validity", model=model, kind=kind, temperature=1.5, **counts)
    sys.exit(invalid > 0)


if __name__ == "__main__":
    main()
