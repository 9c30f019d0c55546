"""Scratch arrays, and objects made of them, that each thread keeps and uses again.

Otherwise the allocator maps large temporaries again on every call; in Dask's worker processes, which set
MALLOC_TRIM_THRESHOLD_, that took two thirds of the time of a step.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["kept", "scratch"]

# Number of objects that kept() keeps: levels of a solve have two or three numbers of states each.
KEPT = 128

_local = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> NDArray:
    """Return an uninitialised array that is this thread's until the next call with the same `name`.

    Parameters
    ----------
    name : str
        Distinguishes arrays that are in use at the same time.
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its dtype.
    """
    buffers: dict[Any, NDArray] = _local.__dict__.setdefault("buffers", {})
    key, size = (name, np.dtype(dtype)), math.prod(shape)
    buffer = buffers.get(key)
    if buffer is None or buffer.size < size:
        buffer = buffers[key] = np.empty(size, dtype)
    return buffer[:size].reshape(shape)


def kept(key: Hashable, make: Callable[[], Any]) -> Any:
    """Return the result of `make` for this key; this thread keeps the last few results.

    Parameters
    ----------
    key : hashable
        Identifies everything that the result depends on.
    make : callable
        Makes it.
    """
    made: dict[Hashable, Any] = _local.__dict__.setdefault("made", {})
    found = made.get(key)
    if found is None:
        if len(made) >= KEPT:
            del made[next(iter(made))]
        found = made[key] = make()
    return found
