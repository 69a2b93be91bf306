"""Time, as Linux keeps it."""

import os
import time
from pathlib import Path


def process_seconds() -> float:
    """Seconds since this process was started, its interpreter's start and imports included."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_ticks = int(fields[19])  # proc(5): field 22, starttime, in ticks since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
