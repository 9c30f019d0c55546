"""glibc's treatment of the large blocks that a solve makes and drops: kept for the next use, or given back."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

__all__ = ["keep_freed_memory", "reuse_blocks"]

# Parameters of glibc's mallopt, in <malloc.h>.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
LARGEST = 2**31 - 1
# The values to which glibc's own thresholds grow, unless that is switched off.
GROWN = {MMAP_THRESHOLD: 1 << 25, TRIM_THRESHOLD: 1 << 26}


def _mallopt() -> Any:
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; return whether it does. With another C library nothing changes.

    A solve makes and drops arrays of many megabytes all the time. glibc gives each back to the system, which has to
    clear every page of the next: a third of the processor time of the four-layer net with N = 1600.
    """
    mallopt = _mallopt()
    if mallopt is None:
        return False
    # Arenas beyond the first, which threads have, map large blocks with any threshold.
    settings = {ARENA_MAX: 1, MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: LARGEST, TOP_PAD: 1 << 26}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)


@functools.cache
def reuse_blocks() -> bool:
    """Make a worker process of Dask use freed blocks again; return whether that was needed and done.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_`` set, so that they give memory back. That also disables glibc's
    own adaptation to blocks of more than 128 kB: it would soon take them from its heap, and no longer map, clear and
    unmap each of them. This function sets the thresholds to the values that they would have grown to, so a thread keeps
    up to 64 MiB. A process without that variable, or with ``MALLOC_MMAP_THRESHOLD_`` in its environment, is unchanged.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    mallopt = _mallopt()
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in GROWN.items())
