"""Stemma: an inference engine that keeps what it has computed in a tree of prefixes."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemma.core.types.sampling import SamplingParams
    from stemma.offline import Engine

    LLM = Engine

_PLACES = {
    "Engine": ("stemma.offline", "Engine"),
    "LLM": ("stemma.offline", "Engine"),
    "SamplingParams": ("stemma.core.types.sampling", "SamplingParams"),
}

__all__ = ["LLM", "Engine", "SamplingParams"]


def __getattr__(name: str) -> object:
    """Import what was asked for, so that `import stemma` imports no torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'stemma' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)
