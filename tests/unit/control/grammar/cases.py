"""Grammars with texts that they accept and refuse, and walks through matchers."""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import tokenizers

from stemma.control.grammar.matcher import Matcher, Vocabulary
from stemma.core.config.embedded import embedded_model_path
from stemma.core.types.grammar import Grammar, GrammarKind

SIZE, STOP = 2048, 2043


@dataclass(slots=True, frozen=True)
class Case:
    name: str
    grammar: Grammar
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def case(name: str, kind: GrammarKind, source: object, right: list[str], wrong: list[str]) -> Case:
    text = source if isinstance(source, str) else json.dumps(source)
    return Case(name, Grammar(kind, text), tuple(right), tuple(wrong))


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.from_folder(embedded_model_path(), SIZE, (STOP,))


@cache
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(vocabulary().path)


def encode(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False).ids


def allowed(matcher: Matcher) -> set[int]:
    words = np.full(SIZE // 32, 0xFFFFFFFF, np.uint32)
    matcher.fill_mask(words)
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def accepts(matcher: Matcher, text: str) -> bool:
    """Whether the whole text may be an answer, walked token by token."""
    return all(matcher.accept(token) for token in encode(text)) and matcher.is_complete


def tag(begin: str, content: object, end: str) -> object:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def tagged(format: object) -> object:
    return {"type": "structural_tag", "format": format}


NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
CALL = tag(
    '<tool_call>\n{"name": "f", "arguments": ', {"type": "json_schema", "json_schema": NUMBER}, "}\n</tool_call>"
)
CALLED = '<tool_call>\n{"name": "f", "arguments": {"a": 3}}\n</tool_call>'
JSON = {"type": "json_schema", "json_schema": NUMBER}
THOUGHT = tag("<think>", {"type": "any_text", "excludes": ["<tool_call>"]}, "</think>")
OLD = {
    "type": "structural_tag",
    "structures": [{"begin": "<function=f>", "schema": NUMBER, "end": "</function>"}],
    "triggers": ["<function="],
}

CASES = (
    case("any json", "json_schema", "{}", ['{"a": [1, null, "x"]}', "3", "[]"], ["", "{", "{a: 1}"]),
    case("object", "json_schema", NUMBER, ['{"a": 1}', '{"a":-20}', '{ "a" :\n1 }'], ['{"a": 1.5}', "{}", '{"b": 1}']),
    case(
        "strings",
        "json_schema",
        {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-c]+$"},
        ['"ab"', '"abc"'],
        ['"a"', '"abca"', '"xy"', "ab"],
    ),
    case(
        "recursion",
        "json_schema",
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
                    "required": ["next"],
                    "additionalProperties": False,
                }
            },
        },
        ['{"next": null}', '{"next": {"next": null}}'],
        ['{"next": 1}', "{}"],
    ),
    case("choices", "regex", "yes|no|<tool_call>", ["yes", "no", "<tool_call>"], ["", "y", "yesno", "maybe"]),
    case("anchored", "regex", r"[0-9]{1,3}/(\d|x)", ["1/2", "123/x"], ["1234/x", "1/2 ", "a1/2"]),
    case("ascii", "regex", r"[\d ]\w\s", ["1a ", " _\n"], ["٣a ", "1é ", "1a\u2003"]),
    case("signs", "regex", 'a/\n"\\\\', ['a/\n"\\'], ["a/"]),
    case("letters", "regex", "[äöü€]+", ["ä€", "ü"], ["a", ""]),
    case(
        "regular",
        "ebnf",
        'root ::= "a" [b-z]* rest? # why not\nrest ::= "-" [^a-c\\-\\]]{2,3}\n',
        ["a", "abc", "abc-xy", "a-xyz"],
        ["b", "abc-x", "abc-xyzz", "a-ab"],
    ),
    case(
        "sums",
        "ebnf",
        'root ::= expr\nexpr ::= term ("+" term)*\nterm ::= [0-9]+ | "(" expr ")"',
        ["1+2", "(1+(22))"],
        ["1+", "(1", "", "1+x"],
    ),
    case("brackets", "ebnf", 'root ::= a a\na ::= "(" a ")" | ""', ["(())", "()()", ""], ["(()", ")("]),
    case(
        "older tag",
        "structural_tag",
        OLD,
        ["hello", 'see <function=f>{"a": 1}</function> there', "<func"],
        ["<function=g>", "<function=f>x", "<function="],
    ),
    case(
        "calls and nothing else",
        "structural_tag",
        tagged({"type": "tags_with_separator", "tags": [CALL], "separator": "\n", "at_least_one": True}),
        [CALLED, f"{CALLED}\n{CALLED}"],
        ["", "hello", CALLED[:-1], f"{CALLED}{CALLED}", f"{CALLED}\n"],
    ),
    case(
        "one call",
        "structural_tag",
        tagged({"type": "tags_with_separator", "tags": [CALL], "separator": "\n", "stop_after_first": True}),
        [CALLED, ""],
        [f"{CALLED}\n{CALLED}"],
    ),
    case(
        "calls in text",
        "structural_tag",
        tagged({"type": "triggered_tags", "triggers": ["<tool_call>"], "tags": [CALL]}),
        ["hello", CALLED, f"first {CALLED} then {CALLED} last", "<tool <tool_"],
        ["<tool_call>", f"{CALLED}<tool_call>", CALLED.replace("3", "null")],
    ),
    case(
        "a thought before",
        "structural_tag",
        tagged({"type": "or", "elements": [{"type": "sequence", "elements": [THOUGHT, JSON]}, JSON]}),
        ['<think>well\n</think>{"a": 1}', '{"a": 1}', '<think></think>{"a": 1}'],
        ["<think>well", "<think></think>", '<think><tool_call></think>{"a": 1}', 'well {"a": 1}'],
    ),
    case(
        "parts",
        "structural_tag",
        tagged(
            {
                "type": "sequence",
                "elements": [
                    {"type": "const_string", "value": "<|im_start|>"},
                    {"type": "regex", "pattern": "[a/]+"},
                    {"type": "grammar", "grammar": 'root ::= "(" root ")" | "."'},
                ],
            }
        ),
        ["<|im_start|>a/((.))"],
        ["a/((.))", "<|im_start|>((.))"],
    ),
)
