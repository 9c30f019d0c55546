"""Running a graph on a Dask scheduler: a local one, or a cluster through a client.

Both take a :class:`~daskmgrit.taskbook.TaskBook` and the tasks whose results are wanted, and return stand-ins for those
results that later graphs may build on.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

import dask
from dask.base import get_scheduler
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.system import CPU_COUNT
from dask.utils import parse_timedelta
from threadpoolctl import threadpool_limits

from daskmgrit.asynchronous import current_stop
from daskmgrit.errors import ClusterError
from daskmgrit.sealed import seal, sealed_value
from daskmgrit.taskbook import TaskBook

logger = logging.getLogger("daskmgrit")

__all__ = ["ClusterExecutor", "LocalExecutor", "choose_executor", "chosen_client"]


class _BlasLimit:
    """Holds BLAS to its share while any solve runs: the limit is the process's, and solves may overlap."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._limit = threadpool_limits(dask.config.get("daskmgrit.blas-threads"), user_api="blas")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_blas = _BlasLimit()


class LocalExecutor:
    """A scheduler of this process: results are computed when they are asked for.

    Parameters
    ----------
    name : str
        ``"sync"``, ``"threads"`` or ``"processes"``.
    get : callable
        The scheduler's ``get(graph, keys)``.
    """

    ahead = False
    workers: list[str] | None = None

    def __init__(self, name: str, get: Callable[..., Any]) -> None:
        self.name, self._get = name, get
        count = 1 if name == "sync" else int(dask.config.get("num_workers", None) or CPU_COUNT)
        self.threads = [count]

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold BLAS to its share of the cores."""
        _blas.enter()
        try:
            yield
        finally:
            _blas.leave()

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Return a stand-in for a value of this process."""
        return delayed(value, name=key, traverse=False)

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Compute the wanted tasks."""
        values = self._get(dict(book.graph()), [task.key for task in wanted])
        return [self.put(value, task.key) for task, value in zip(wanted, values, strict=True)]

    def fetch(self, handle: Delayed, what: str) -> Any:
        """Return a result's value."""
        return self._get(dict(handle.dask), handle.key)

    def keep(self, array: Any) -> Any:
        """Have the array's chunks made, so that the blocks they come from may go."""
        return array.persist(scheduler=self._get)


class ClusterExecutor:
    """A Dask cluster: results stay on its workers.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    """

    ahead = True
    name = "distributed"

    def __init__(self, client: Any) -> None:
        self.client, self._stop = client, current_stop()
        self._patience = parse_timedelta(dask.config.get("daskmgrit.worker-timeout"))
        threads = self._wait_for_workers()
        self.workers: list[str] | None = sorted(threads)
        self.threads = [threads[worker] for worker in self.workers]

    @contextmanager
    def session(self) -> Iterator[None]:
        """Nothing to hold: workers come with BLAS set to one thread."""
        yield

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Send a value to its owner, as a task: so the scheduler can have it again when a worker is lost."""
        book, stub = TaskBook(self.workers), delayed(None, name=key, traverse=False)
        with book.place(owner):
            # The layer takes the annotation when it is made.
            book.layers = {key: MaterializedLayer({key: sealed_value(key, value)})}
        book.dependencies = {key: set()}
        # It is sent once, however large.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return self.submit(book, [stub])[0]

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Send the tasks to the scheduler; returns at once."""
        keys = [task.key for task in wanted]
        futures = self.client.get(seal(book.graph()), keys, sync=False)
        return [_handle(key, future) for key, future in zip(keys, futures, strict=True)]

    def fetch(self, handle: Delayed, what: str) -> Any:
        """Wait for a result; the wait ends also when the scheduler or, for too long, every worker is gone."""
        future = handle.dask.layers[handle.key][handle.key]
        with self._stop.waking(future.release):
            return self._wait(future, what)

    def _wait(self, future: Any, what: str) -> Any:
        lonely: float | None = None
        while True:
            try:
                # This waits for the task but does not bring its result: to cut that short would cut short what other
                # threads have brought by this client, too.
                future.exception(timeout=1)
            except TimeoutError:
                lonely = self._check_alive(what, lonely)
                continue
            try:
                return future.result(timeout=self._patience)
            except TimeoutError:
                if future.status == "error":
                    # The task's own, not the wait's.
                    future.release()
                    raise
                if future.status == "finished":
                    raise ClusterError(
                        f"{what} is on a worker but could not be brought from there within {self._patience:g} s: look "
                        "at the network, or raise daskmgrit.worker-timeout in dask.config"
                    ) from None
            except CancelledError as error:
                # The future keeps it: with its traceback that would hold all that the solve holds.
                error.__traceback__ = None
                self._stop.check()
                raise ClusterError(
                    f"the cluster lost {what} and cannot compute it again: its scheduler was stopped or restarted, or "
                    "it forgot data that the solve had sent to it"
                ) from None
            except Exception:
                # The client keeps an error with its traceback, and that all futures of the solve, until it is told
                # that nobody wants this one any more.
                future.release()
                raise

    def _check_alive(self, what: str, lonely: float | None) -> float | None:
        """Return since when there has been no worker, None while there is one."""
        self._stop.check()
        if self.client.status != "running":
            raise ClusterError(
                f"the connection to the scheduler was lost (client status {self.client.status!r}) "
                f"while waiting for {what}"
            )
        if self.client.nthreads():
            return None
        if lonely is not None and time.monotonic() - lonely > self._patience:
            raise ClusterError(
                f"all workers were lost and none came within {self._patience:g} s while waiting for {what}; "
                "start workers, or raise daskmgrit.worker-timeout in dask.config"
            )
        return time.monotonic() if lonely is None else lonely

    def keep(self, array: Any) -> Any:
        """Have the array's chunks made on the workers and held there."""
        return self.client.persist(array)

    def _wait_for_workers(self) -> dict[str, int]:
        if not self.client.nthreads():
            logger.warning("the cluster has no workers yet: waiting up to %g s for one", self._patience)
        end = time.monotonic() + self._patience
        while not (threads := self.client.nthreads()):
            self._stop.check()
            left = end - time.monotonic()
            if left <= 0:
                raise ClusterError(
                    f"the cluster has no workers and none came within {self._patience:g} s: start one with "
                    "`dask worker ADDRESS`, or raise daskmgrit.worker-timeout in dask.config"
                )
            with suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=min(1.0, left))
        return dict(threads)


def _handle(key: str, future: Any) -> Delayed:
    return Delayed(key, HighLevelGraph({key: {key: future}}, {key: set()}))


def chosen_client(client: Any = None) -> Any:
    """Return `client`, else the one set in ``dask.config`` as the scheduler, else the current one, else None.

    As in Dask, ``dask.config.set(scheduler=...)`` comes before a current client.
    """
    if client is not None:
        return client
    configured = _configured_scheduler()
    if configured is None:
        return _current_client()
    owner = getattr(get_scheduler(scheduler=configured), "__self__", None)
    return owner if hasattr(owner, "scatter") else None


def _configured_scheduler() -> Any:
    """Return the scheduler set in ``dask.config``; None where that leaves it to the current client."""
    configured = dask.config.get("scheduler", None)
    return None if configured in ("dask.distributed", "distributed") else configured


def choose_executor(client: Any = None) -> LocalExecutor | ClusterExecutor:
    """Return the executor for the chosen client, else for the scheduler set in ``dask.config``.

    With neither there is the threaded scheduler.

    Raises
    ------
    TypeError
        If `client` is not a client.
    """
    client = chosen_client(client)
    if client is None:
        get = get_scheduler(scheduler=_configured_scheduler() or "threads")
        name = {
            "dask.local": "sync",
            "dask.threaded": "threads",
            "dask.multiprocessing": "processes",
        }.get(getattr(get, "__module__", ""))
        return LocalExecutor(name or "threads", get)
    if not all(hasattr(client, name) for name in ("get", "scatter", "nthreads")):
        raise TypeError(
            f"client={client!r} is not a dask.distributed Client: pass Client(ADDRESS), or None for the current "
            "one or the threaded scheduler"
        )
    if getattr(client, "status", "running") == "closed":
        raise ClusterError(f"client={client!r} is closed: pass an open one, or None for the threaded scheduler")
    return ClusterExecutor(client)


def _current_client() -> Any:
    """Return the current client, without importing distributed where nobody has."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client = default_client()
    except ValueError:
        return None
    # One whose connection failed stays the current client until it is collected as garbage.
    failed = client.status == "connecting" and not getattr(client, "_scheduler_identity", True)
    return None if failed else client
