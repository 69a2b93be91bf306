"""One logging setup for every process: time, role, level, message."""

import logging
import sys


def set_up_logging(role: str, level: str) -> None:
    """Log to stderr, each line with the role of this process. Called once, by a process's main."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {role} %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
