"""Freed memory of a process that only solves: kept for the next block, instead of given back to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt, in <malloc.h>.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed; returns whether it does. With another C library nothing changes.

    A solve makes and drops arrays of many megabytes all the time. glibc gives each back to the system, which has to
    clear every page of the next: a third of the processor time of the four-layer net with N = 1600.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Arenas beyond the first, which threads have, map large blocks whatever the threshold.
    settings = {ARENA_MAX: 1, MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: LARGEST, TOP_PAD: 1 << 26}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)
