"""Stemma: an inference engine that keeps what it has computed in a tree of prefixes.

`import stemma as sgl` has every name of SGLang's frontend language.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemma.core.types.sampling import SamplingParams
    from stemma.front.lang.api import (
        VertexAI,
        assistant,
        assistant_begin,
        assistant_end,
        flush_cache,
        function,
        gen,
        gen_int,
        gen_string,
        get_server_info,
        image,
        select,
        separate_reasoning,
        set_default_backend,
        system,
        system_begin,
        system_end,
        user,
        user_begin,
        user_end,
        video,
    )
    from stemma.front.lang.backends.anthropic import Anthropic
    from stemma.front.lang.backends.http import RuntimeEndpoint
    from stemma.front.lang.backends.litellm import LiteLLM
    from stemma.front.lang.backends.openai import Crusoe, OpenAI
    from stemma.front.lang.backends.runtime import Runtime, ServerArgs
    from stemma.front.lang.choices import (
        greedy_token_selection,
        token_length_normalized,
        unconditional_likelihood_normalized,
    )
    from stemma.front.lang.settings import global_config
    from stemma.offline import Engine

    LLM = Engine
    __version__: str

_PLACES = {
    "stemma.front.lang.api": (
        "VertexAI assistant assistant_begin assistant_end flush_cache function gen "
        "gen_int gen_string get_server_info image select separate_reasoning set_default_backend system "
        "system_begin system_end user user_begin user_end video"
    ),
    "stemma.front.lang.choices": "greedy_token_selection token_length_normalized unconditional_likelihood_normalized",
    "stemma.front.lang.settings": "global_config",
    "stemma.front.lang.backends.anthropic": "Anthropic",
    "stemma.front.lang.backends.http": "RuntimeEndpoint",
    "stemma.front.lang.backends.litellm": "LiteLLM",
    "stemma.front.lang.backends.openai": "Crusoe OpenAI",
    "stemma.front.lang.backends.runtime": "Runtime ServerArgs",
    "stemma.offline": "Engine",
    "stemma.core.types.sampling": "SamplingParams",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}
_ALIASES = {"LLM": "Engine"}

__all__ = [
    "LLM",
    "Anthropic",
    "Crusoe",
    "Engine",
    "LiteLLM",
    "OpenAI",
    "Runtime",
    "RuntimeEndpoint",
    "SamplingParams",
    "ServerArgs",
    "VertexAI",
    "__version__",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "flush_cache",
    "function",
    "gen",
    "gen_int",
    "gen_string",
    "get_server_info",
    "global_config",
    "greedy_token_selection",
    "image",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "unconditional_likelihood_normalized",
    "user",
    "user_begin",
    "user_end",
    "video",
]


def __getattr__(name: str) -> object:
    """Import what was asked for, so that `import stemma` imports no torch."""
    if name == "__version__":
        return version("stemma-llm")
    name = _ALIASES.get(name, name)
    if name not in _MODULES:
        raise AttributeError(f"module 'stemma' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
