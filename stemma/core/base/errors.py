"""The one exception tree.

StemmaError                 something was wrong, and the message says what to do
├── BadRequest      400     the client can mend it; `field` names what was wrong
│   ├── TooLong     400     prompt, or prompt and answer, exceed a limit
│   └── GrammarError 400    a grammar is wrong, too large, or uses what no backend serves
├── Busy            503     the queue is full; try again later
├── EngineDead      503     the engine process died while the request was with it
├── ConfigError     —       an option has a value that cannot be served
│   └── UnknownName —       a name that is not in a registry
├── CheckpointError —       a model folder is damaged, incomplete or of an unknown kind
└── Bug             500     our own mistake: an invariant does not hold
"""

from collections.abc import Iterable


class StemmaError(Exception):
    """Base of every error that Stemma raises on purpose. `status` is what HTTP says."""

    status = 500

    @property
    def message(self) -> str:
        return str(self)


class BadRequest(StemmaError):
    """A request that cannot be served as it was sent. `field` is the JSON path of the culprit."""

    status = 400

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field


class TooLong(BadRequest):
    """The prompt, or prompt and answer together, exceed a limit."""


class GrammarError(BadRequest):
    """A grammar that is wrong, exceeds a budget, or uses what no backend serves; the message names it."""


class Busy(StemmaError):
    """There is no room now; the same request may succeed later."""

    status = 503


class EngineDead(StemmaError):
    """The engine process died; its supervisor starts another."""

    status = 503


class ConfigError(StemmaError):
    """An option, or a combination of options, that cannot be served."""


class UnknownName(ConfigError):
    """A name that is not in its registry; the message lists those that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        super().__init__(f"no {kind} {name!r}; there are {', '.join(sorted(known))}")
        self.name = name


class CheckpointError(StemmaError):
    """A model folder that is damaged, incomplete or of an unknown kind."""


class Bug(StemmaError):
    """An invariant of ours does not hold. Never caused by input alone."""
