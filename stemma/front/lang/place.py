"""The line of a program that is running now."""

import sys
import traceback
from types import FrameType

_OURS = __name__.rpartition(".")[0]


def program_line() -> str:
    """`file:line` of the innermost caller outside of the language."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def line_of(error: BaseException) -> str:
    """The line of the program in which an error came up, however deep below it was raised."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = (f"{frame.f_code.co_filename}:{number}" for frame, number in frames if not _is_ours(frame))
    return next(lines, "the program")


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS)
