"""The interface between a solve and the scheduler of its graphs: one Protocol for local schedulers and clusters.

A solve adds tasks to a :class:`~daskmgrit.graph.submission.TaskBook`, submits it with the tasks whose results are
wanted, and gets stand-ins (``Delayed``) for those results, which later graphs may build on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dask.delayed import Delayed

from daskmgrit.graph.block_store import BlockStore
from daskmgrit.graph.submission import TaskBook

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs the graphs of a solve.

    Attributes
    ----------
    name : str
        The scheduler's name, the key of its costs in ``daskmgrit.task-overhead`` of ``dask.config``: "sync", "threads",
        "processes" or "distributed".
    ahead : bool
        Whether :meth:`submit` returns at once, so that a solve may submit cycles ahead of the one that it waits for.
    in_memory : bool
        Whether a task finds the result of the one before it on its chunk in memory, without a copy.
    hosts : int
        Machines that the workers are on.
    workers : list of str or None
        Address of each worker, in the order of `threads`; None where the scheduler has no workers to choose from.
    threads : list of int
        Threads of each worker, at least one entry.
    patience : float
        Seconds to wait for a worker that does not answer.
    client : distributed.Client or None
        The cluster's client; None for a scheduler of this process.
    """

    name: str
    ahead: bool
    in_memory: bool
    hosts: int
    workers: list[str] | None
    threads: list[int]
    patience: float
    client: Any

    def check(self, phi: Any) -> None:
        """Check that a solve with this propagator can run here, before anything is submitted.

        Raises
        ------
        PropagatorError
            If phi cannot be sent to where it would run.
        ClusterError
            If a worker cannot load phi or this version of the package, or does not answer.
        """

    def ask_workers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Run a function once in each other process that computes; return the answers, or errors, by address.

        The function may take the worker as ``dask_worker``. Without other processes the answer is empty.
        """

    def session(self) -> AbstractContextManager[None]:
        """Return the context that a solve runs in."""

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Return a stand-in, with this key, for a value; it is sent to the worker with the number `owner`."""

    def share(self, phi: Any, key: str, owner: Any) -> Delayed:
        """Return a stand-in for a propagator, with this key if it was not sent before.

        Parameters
        ----------
        phi : callable
            The propagator.
        key : str
            Its key.
        owner : object
            As long as it lives, other solves may use what was sent: the user's own propagator.

        Raises
        ------
        ClusterError
            If a worker cannot load it.
        """

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Run the tasks; return a stand-in for the result of each wanted one."""

    def fetch(self, handle: Delayed, what: str, again: bool = False, usual: float = math.inf) -> Any:
        """Wait for a result and return it.

        Parameters
        ----------
        handle : Delayed
            The stand-in for it.
        what : str
            Its description in errors.
        again : bool
            Whether the result is needed later; otherwise the scheduler may forget it.
        usual : float
            Seconds that it may be expected to take, if they are known: a wait of ten times as long is worth a line.

        Raises
        ------
        ClusterError
            If the cluster, or the result, is lost, or nothing runs for too long.
        """

    def store(self, held: int) -> BlockStore | None:
        """Return the store for the `held` bytes of blocks of a solve; None for the scheduler's memory."""

    def keep(self, array: Any) -> Any:
        """Return a dask array whose chunks are computed and held here, so that their inputs can be freed."""
