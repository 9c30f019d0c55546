"""The choice of the scheduler to solve on, as Dask makes it."""

from __future__ import annotations

import sys
from typing import Any, Protocol, runtime_checkable

import dask
from dask.base import get_scheduler

from daskmgrit.errors import ClusterError
from daskmgrit.executors.cluster import ClusterExecutor
from daskmgrit.executors.executor import Executor
from daskmgrit.executors.local import LocalExecutor
from daskmgrit.executors.task_slot import in_task, made_for_tasks
from daskmgrit.utils.private_api import failed_to_connect
from daskmgrit.utils.validation import brief

__all__ = ["DaskClient", "choose_executor", "chosen_client", "is_asynchronous"]


@runtime_checkable
class DaskClient(Protocol):
    """The interface of a cluster's client; ``distributed.Client`` has it."""

    @property
    def get(self) -> Any:
        """Runs a graph."""

    @property
    def scatter(self) -> Any:
        """Sends data to workers."""

    @property
    def nthreads(self) -> Any:
        """Says how many threads each worker has."""


def chosen_client(client: Any = None) -> Any:
    """Return `client`, else the one set in ``dask.config`` as the scheduler, else the current one, else None.

    As in Dask, ``dask.config.set(scheduler=...)`` has priority over a current client. Within a Dask task there is no
    current client unless the task sets it by ``as_current()`` or ``worker_client()``: whether the worker's own client
    exists depends on earlier tasks.
    """
    if client is not None:
        return client
    configured = _configured_scheduler()
    if configured is None:
        return _current_client()
    owner = getattr(get_scheduler(scheduler=configured), "__self__", None)
    return owner if hasattr(owner, "scatter") else None


def is_asynchronous(client: Any) -> bool:
    """Whether the methods of a client return coroutines in this thread; False without a client."""
    return bool(getattr(client, "asynchronous", False))


def _configured_scheduler() -> Any:
    """Return the scheduler set in ``dask.config``; None if it leaves the choice to the current client."""
    configured = dask.config.get("scheduler", None)
    return None if configured in ("dask.distributed", "distributed") else configured


def choose_executor(client: Any = None, timeout: float | None = None) -> Executor:
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
    if not isinstance(client, DaskClient):
        raise TypeError(
            f"client={brief(client)} is not a dask.distributed Client: pass Client(ADDRESS), or None for the current "
            "one or the threaded scheduler"
        )
    if getattr(client, "status", "running") == "closed":
        raise ClusterError(f"client={client!r} is closed: pass an open client, or None for the threaded scheduler")
    return ClusterExecutor(client, timeout)


def _current_client() -> Any:
    """Return the current client, without importing distributed if it was not imported before."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client, default_client

    try:
        client = Client.current(allow_global=False) if in_task() else default_client()
    except ValueError:
        return None
    return None if failed_to_connect(client) or made_for_tasks(client) else client
