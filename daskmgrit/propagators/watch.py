"""The end of all processes with a mark in their environment; as a program it kills them when its input ends.

It imports nothing of the package, because each process that runs programs starts it by its file's name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psutil

__all__ = ["MARK", "end_marked"]

# The environment variable.
MARK = "DASKMGRIT_PROGRAM"


def end_marked(wanted: Callable[[str], bool], seconds: float = 5.0) -> None:
    """Kill all processes whose mark is `wanted`, until there are none; what they start meanwhile, too."""
    end = time.monotonic() + seconds
    while sum(_kill_if_marked(process, wanted) for process in psutil.process_iter()) and time.monotonic() < end:
        time.sleep(0.02)


def _kill_if_marked(process: psutil.Process, wanted: Callable[[str], bool]) -> bool:
    try:
        mark = process.environ().get(MARK)
        if mark is None or not wanted(mark) or process.status() == psutil.STATUS_ZOMBIE:
            return False
        process.kill()
    except (psutil.Error, OSError):
        # It has ended, or is another user's.
        return False
    return True


if __name__ == "__main__":
    sys.stdin.buffer.read()
    # One that was being started had no mark yet.
    for _ in range(3):
        end_marked(lambda mark: mark.startswith(sys.argv[1]))
        time.sleep(0.1)
