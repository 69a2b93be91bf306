"""The line of a program that is running now."""

import sys
from types import FrameType

_OURS = __name__.rpartition(".")[0]


def program_line() -> str:
    """`file:line` of the innermost caller outside of the language."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
