"""Execution of a graph on a local Dask scheduler: synchronous, threaded or of processes."""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
from dask.core import flatten
from dask.delayed import Delayed
from dask.system import CPU_COUNT
from dask.task_spec import DataNode
from threadpoolctl import ThreadpoolController

from daskmgrit.executors.executor import Executor
from daskmgrit.graph.block_store import BlockStore, load
from daskmgrit.graph.submission import TaskBook, held, stand_in
from daskmgrit.propagators.program import allow_programs, end_programs
from daskmgrit.utils.config import setting
from daskmgrit.utils.units import bytes_option

__all__ = ["LocalExecutor"]


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Return the libraries of this process; more come with further modules. To look takes as long as a small solve."""
    return ThreadpoolController()


class _BlasLimit:
    """Limits BLAS to its share while any solve runs: the limit is the process's, and solves may overlap."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                libraries = _libraries(len(sys.modules))
                self._limit = libraries.limit(limits=setting("daskmgrit.blas-threads"), user_api="blas")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_blas = _BlasLimit()


class LocalExecutor(Executor):
    """A scheduler of this process: results are computed when they are submitted.

    Parameters
    ----------
    name : str
        ``"sync"``, ``"threads"`` or ``"processes"``.
    get : callable
        The scheduler's ``get(graph, keys)``.
    """

    ahead = False
    hosts = 1
    workers: list[str] | None = None
    patience = math.inf
    client: Any = None

    def __init__(self, name: str, get: Callable[..., Any]) -> None:
        self.name, self.in_memory, self._get = name, name != "processes", get
        count = 1 if name == "sync" else int(dask.config.get("num_workers", None) or CPU_COUNT)
        self.threads = [count]

    def check(self, phi: Any) -> None:
        """Check nothing: the tasks run in this process, or in copies of it."""

    def ask_workers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Return no answers: there are no workers but this process and its copies."""
        return {}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Limit BLAS to its share of the cores."""
        _blas.enter()
        allow_programs()
        try:
            yield
        finally:
            _blas.leave()

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Return a stand-in for a value of this process."""
        return stand_in(key, DataNode(key, value))

    def share(self, phi: Any, key: str, owner: Any) -> Delayed:
        """Return a stand-in for a propagator of this process."""
        return self.put(phi, key)

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Compute the wanted tasks."""
        try:
            values = self._get(book.by_key(), [task.key for task in wanted])
        except KeyboardInterrupt:
            # The threads that wait for them would keep this process from ending.
            end_programs()
            raise
        return [self.put(value, task.key) for task, value in zip(wanted, values, strict=True)]

    def fetch(self, handle: Delayed, what: str, again: bool = False, usual: float = math.inf) -> Any:
        """Return a result's value."""
        return load(held(handle).value)

    def store(self, held: int) -> BlockStore | None:
        """Return the store for the `held` bytes of blocks of a solve, None for plain memory."""
        limit = setting("daskmgrit.memory")
        if self.name == "processes" or limit is None:
            return None
        if limit == "auto":
            if held < 1 << 28:
                return None
            # Known to respect control groups; not imported where it is not needed.
            from distributed.system import MEMORY_LIMIT

            limit = MEMORY_LIMIT // 2
        else:
            limit = bytes_option("daskmgrit.memory")
        return BlockStore(limit) if held > limit else None

    def keep(self, array: Any) -> Any:
        """Compute the array's chunks, so that their blocks can be freed."""
        keys = list(flatten(array.__dask_keys__()))
        values = self._get(array.__dask_graph__(), keys)
        rebuild, args = array.__dask_postpersist__()
        # To optimise these graphs, as persist() does, takes several times as long as they do.
        return rebuild({key: DataNode(key, value) for key, value in zip(keys, values, strict=True)}, *args)
