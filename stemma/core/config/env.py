"""The environment variables that are read, each in one place."""

import os
from pathlib import Path

API_KEY = "STEMMA_API_KEY"  # what `serve` demands and `chat --url` bears; unlike an option, nobody sees it in `ps`


def api_key() -> str | None:
    return os.environ.get(API_KEY) or None


def crusoe_api_key() -> str | None:
    """The key of the language's backend Crusoe, where none was given."""
    return os.environ.get("CRUSOE_API_KEY") or None


def cache_folder() -> Path:
    """Where lies what can be made again: XDG_CACHE_HOME, or what stands for it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stemma"


def state_folder() -> Path:
    """Where small files live that outlast a command: XDG_STATE_HOME, or what stands for it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "stemma"
