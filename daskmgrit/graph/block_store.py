"""Blocks of a local solve that outgrow the memory: kept in files, least recently used first out.

On a cluster Dask's workers do this themselves; its local schedulers do not.
"""

from __future__ import annotations

import inspect
import itertools
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
from dask.sizeof import sizeof

from daskmgrit.multigrid.block import Block, Edge, ResidualReport

__all__ = ["BlockStore", "StoredResult", "by_handle", "load", "through"]

# Smaller results stay where they are.
LEAST_BYTES = 1 << 16

_BY_HANDLE: set[Callable[..., Any]] = set()


def by_handle(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that only reads blocks' edges and reports: its blocks stay in the store."""
    _BY_HANDLE.add(function)
    return function


class StoredResult:
    """Stands for a result in the store; keeps the often used parts of a block in memory."""

    def __init__(self, store: BlockStore, key: int, value: Any) -> None:
        self._store, self._key = store, key
        self.settled: ResidualReport | None = getattr(value, "settled", None)
        self._edge = value.edge() if isinstance(value, Block) else None
        # At the end of the process the folder goes as a whole.
        weakref.finalize(self, store.drop, key).atexit = False

    def edge(self) -> Edge | None:
        """Return the block's edge."""
        return self._edge

    def load(self) -> Any:
        """Return the result."""
        return self._store.get(self._key)


class BlockStore:
    """Keeps results within a memory limit, and the rest in a temporary folder that is removed with the last of them.

    Parameters
    ----------
    limit : int
        Bytes of results to keep in memory.
    """

    def __init__(self, limit: int) -> None:
        import zict
        from distributed.protocol import deserialize_bytes, serialize_bytelist

        self.limit = limit
        place = dask.config.get("temporary-directory", None)
        try:
            self.folder = tempfile.mkdtemp(prefix="daskmgrit-", dir=place)
        except OSError as error:
            raise ValueError(
                f"temporary-directory in dask.config={place!r} cannot be used for blocks beyond "
                f"daskmgrit.memory: {error}; set it to a folder that can be written to"
            ) from error
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        files = zict.Func(partial(serialize_bytelist, on_error="raise"), deserialize_bytes, zict.File(self.folder))
        self._data = zict.Buffer({}, files, limit, weight=lambda key, value: sizeof(value))
        self._numbers = itertools.count()
        # zict's buffer does not let two threads fetch the same key at a time.
        self._lock = threading.Lock()
        self._dropped: deque[int] = deque()

    def _forget(self) -> None:
        while self._dropped:
            del self._data[str(self._dropped.popleft())]

    def put(self, value: Any) -> Any:
        """Store a result; return its stand-in, or the result itself if it is small.

        Raises
        ------
        OSError
            If the folder's disk is full.
        """
        if sizeof(value) < LEAST_BYTES:
            return value
        key = next(self._numbers)
        try:
            with self._lock:
                self._forget()
                self._data[str(key)] = value
        except OSError as error:
            error.add_note(
                f"daskmgrit: while blocks beyond {self.limit} bytes were written to {self.folder}: set dask's "
                "temporary-directory to a larger disk, or increase daskmgrit.memory in dask.config"
            )
            raise
        return StoredResult(self, key, value)

    def get(self, key: int) -> Any:
        """Return a result."""
        with self._lock:
            self._forget()
            return self._data[str(key)]

    def drop(self, key: int) -> None:
        """Forget a result at the next opportunity, because garbage collection may call this at any time."""
        self._dropped.append(key)


def load(value: Any) -> Any:
    """Return the results of stand-ins, also within lists and tuples."""
    if isinstance(value, StoredResult):
        return value.load()
    if type(value) in (list, tuple):
        return type(value)(map(load, value))
    return value


def through(store: BlockStore, function: Callable[..., Any], *args: Any) -> Any:
    """Run a task on results in the store, and put its result there."""
    return store.put(function(*(args if _BY_HANDLE & {function, *_functions(args)} else map(load, args))))


def _functions(args: Any) -> list[Any]:
    """Return the function that a task's function runs, if it runs one."""
    return [argument for argument in args[:1] if inspect.isfunction(argument)]
