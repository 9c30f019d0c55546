"""Python's garbage collector, kept from running while a graph is built."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

_lock = threading.Lock()
_pauses = 0


@contextmanager
def collector_paused(wanted: bool = True) -> Iterator[None]:
    """Keep the collector from running within the block, unless it is off anyway or that is not `wanted`.

    The objects of a graph live as long as the graph: the collector would examine them again and again in vain, which
    took half of the time of a graph of 20,000 tasks. Once it may run again it examines all that is left, which took two
    thirds; so a block should last until the graph is dropped. Blocks may be nested and run on several threads.
    """
    global _pauses
    with _lock:
        here = wanted and (bool(_pauses) or gc.isenabled())
        if here:
            _pauses += 1
            gc.disable()
    try:
        yield
    finally:
        if here:
            with _lock:
                _pauses -= 1
                if not _pauses:
                    gc.enable()
