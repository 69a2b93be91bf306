"""The libraries that know grammars, by name."""

from collections.abc import Callable

from stemma.control.grammar.matcher import Backend, Vocabulary, Whitespace
from stemma.core.base.registry import Registry

BACKENDS: Registry[Callable[[Vocabulary, Whitespace], Backend]] = Registry(
    "grammar backend",
    {
        "chain": "stemma.control.grammar.llguidance:RewritingBackend",
        "llguidance": "stemma.control.grammar.llguidance:LLGuidanceBackend",
        "xgrammar": "stemma.control.grammar.xgrammar:XGrammarBackend",
        "outlines": "stemma.control.grammar.outlines:OutlinesBackend",
    },
)
