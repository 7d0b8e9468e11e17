"""What this machine lends a process."""

from __future__ import annotations

import os
import sys


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
