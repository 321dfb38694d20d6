"""How long this process has been running, imports included."""

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()


def process_age() -> float:
    """Returns seconds since the process was started.

    Where the system does not tell (outside of Linux), since this module was imported.
    """
    try:
        # Field 22 counts from boot, in clock ticks; the name before it may hold spaces.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _IMPORTED
