"""The libraries that know grammars, by name."""

from stemma.control.grammar.matcher import BackendMaker
from stemma.core.base.registry import Registry

BACKENDS: Registry[BackendMaker] = Registry(
    "grammar backend",
    {
        "chain": "stemma.control.grammar.llguidance:RewritingBackend",
        "llguidance": "stemma.control.grammar.llguidance:LLGuidanceBackend",
        "xgrammar": "stemma.control.grammar.xgrammar:XGrammarBackend",
        "outlines": "stemma.control.grammar.outlines:OutlinesBackend",
    },
)
