"""What is asked about a schema or a text, and what is thought of it."""

from typing import Literal

from msgspec import Struct

from stemma.core.types.grammar import GrammarKind


class Question(Struct, frozen=True, kw_only=True):
    """Does `text` match a grammar? Without a text: is `source`, a JSON schema, one at all?"""

    kind: GrammarKind
    source: str
    text: str | None = None


class Opinion(Struct, frozen=True):
    verdict: Literal["valid", "invalid", "unchecked"]
    detail: str = ""  # what is wrong and where, or why there is no verdict
