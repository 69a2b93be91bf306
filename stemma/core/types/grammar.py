"""What an answer must match."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_GRAMMAR_CHARACTERS = 2**20

GrammarKind = Literal["json_schema", "regex", "ebnf", "structural_tag"]
GrammarText = Annotated[str, Meta(min_length=1, max_length=MAX_GRAMMAR_CHARACTERS, pattern=r"\A[^\x00]*\Z")]


class Grammar(Struct, frozen=True, array_like=True):
    """The constraint of one whole answer: a thinking part, content and tool calls are one structural tag.

    `source` is the JSON text of a schema (`{}`: any JSON value), a regular expression, an EBNF grammar,
    or the JSON text of a structural tag. Whether it can be compiled is found where it is.
    """

    kind: GrammarKind
    source: GrammarText
