"""What can go wrong with a program."""

from stemma.core.base.errors import StemmaError


class ProgramError(StemmaError):
    """A line of a program failed; the message names the line, and `__cause__` is what happened there."""


class Misuse(StemmaError, AssertionError):
    """A program or a call that cannot mean anything. AssertionError too, since SGLang asserts these."""


class BackendError(StemmaError, RuntimeError):
    """A backend refused a request, or has gone. RuntimeError too, since SGLang raises that."""


class Refused(BackendError):
    """A server answered, and said no."""


class Unreadable(StemmaError, ValueError):
    """An answer that is no value of the type it was asked for."""


class StopTracing(Exception):
    """A traced program came to what only a run can tell. Caught by the tracer."""
