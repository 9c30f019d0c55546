"""Ctrl-C on the command line: one line, status 130, and the end of all workers that were started."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from multiprocessing import resource_tracker
from typing import Any

from daskmgrit.executors.scheduler_calls import bounded

__all__ = ["hush", "quiet_end", "spared"]


@contextmanager
def spared() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started in the block: they end with this one, in order.

    A terminal sends it to all foreground processes. The block delays it until its end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting it later would let the signal through to the process that is started then.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def quiet_end(client: Any = None, cluster: Any = None) -> Iterator[None]:
    """When Ctrl-C ends the block, ignore a second one and Dask's log of losses while the surroundings close.

    Parameters
    ----------
    client : distributed.Client, optional
        Client of a cluster that ends with the block: its workers log nothing more, either.
    cluster : distributed.LocalCluster, optional
        The cluster, where it has no client yet.
    """
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hush()
        with suppress(Exception), _client_of(cluster) if client is None else nullcontext(client) as there:
            if there is not None:
                bounded(there, 2, there.run, hush)
        raise


def _client_of(cluster: Any) -> AbstractContextManager[Any]:
    if cluster is None:
        return nullcontext()
    from distributed import Client

    return Client(cluster, timeout=2, set_as_default=False)


def hush() -> None:
    """Silence Dask's log while the cluster closes."""
    # Its event loop tells by the other two what it could not finish.
    dask = ("distributed", "tornado", "asyncio")
    for name in (*dask, *logging.root.manager.loggerDict):
        if name.split(".")[0] in dask:
            logging.getLogger(name).setLevel(logging.CRITICAL)
