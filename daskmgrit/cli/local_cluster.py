"""Worker processes on this machine for one command: their maximum number, and a start that can be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import Any

import click
import psutil
from dask.system import CPU_COUNT

from daskmgrit.cli.ends import note
from daskmgrit.cli.interrupt import hush, quiet_end, spared
from daskmgrit.errors import ClusterError
from daskmgrit.utils.units import size_in_words, time_setting

__all__ = ["check_workers", "local_cluster"]

# A worker process takes about 100 MB before it holds any state.
WORKER_BYTES = 128 << 20
# More processes than cores gain nothing; some more are good for trying things out.
PER_CORE = 8
# That many start at once, or one for each core: more would only wait for each other.
AT_ONCE = 4


def check_workers(workers: int) -> None:
    """Refuse more worker processes than this machine can hold, before anything is started.

    Raises
    ------
    click.UsageError
        If there are more than eight for a core, or less than 128 MiB of memory for each.
    """
    from distributed.system import MEMORY_LIMIT

    most = max(1, min(PER_CORE * CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))
    if workers > most:
        raise click.UsageError(
            f"--workers {workers}: this machine has {CPU_COUNT} cores and {size_in_words(MEMORY_LIMIT)} of memory, "
            f"for {most} worker processes at most (more than {CPU_COUNT} are not faster); "
            "for more, give --slurm or --scheduler"
        )


@contextmanager
def local_cluster(workers: int, timeout: float | None = None, port: int = 0, threads: int = 1) -> Iterator[Any]:
    """Start a cluster on loopback; it ends with the context.

    Ctrl-C or an error ends it at any moment, also while its workers start.

    Parameters
    ----------
    workers : int
        Number of worker processes, as :func:`check_workers` allows.
    timeout : float, optional
        Seconds to wait for the next workers, by default ``daskmgrit.worker-timeout``.
    port : int, default 0
        Port of the dashboard; 0 is any.
    threads : int, default 1
        Threads of each worker process.

    Raises
    ------
    ClusterError
        If they do not come.
    """
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    seconds = time_setting("daskmgrit.worker-timeout") if timeout is None else timeout
    # Its thread starts all workers, and keeps Ctrl-C from them for good.
    with spared():
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=threads,
            memory_limit=MEMORY_LIMIT // workers,
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{port}",
        )
    with cluster:
        _start(cluster, workers, seconds)
        yield cluster


def _start(cluster: Any, workers: int, seconds: float) -> None:
    """Start workers, a few at a time, so that there are few to end if the start is cancelled."""
    at_once = max(AT_ONCE, CPU_COUNT)
    for before in range(0, workers, at_once):
        if before:
            note(f"{before} of {workers} worker processes have started")
        others = set(psutil.Process().children())
        cluster.scale(min(before + at_once, workers))
        coming = asyncio.run_coroutine_threadsafe(_all(cluster), cluster.loop.asyncio_loop)
        try:
            # A second Ctrl-C is to leave what the first one ends alone.
            with quiet_end(cluster=cluster):
                coming.result(seconds)
        except BaseException as error:
            _end(coming, others)
            if not isinstance(error, Exception):
                raise
            late = f"did not come within {seconds:g} s; increase --timeout, or daskmgrit.worker-timeout in dask.config"
            why = late if isinstance(error, TimeoutError) else f"failed: {error!r}"
            raise ClusterError(f"{before} of {workers} worker processes have started, the next {why}") from error


async def _all(cluster: Any) -> None:
    await cluster


def _end(coming: Future[None], others: Collection[psutil.Process]) -> None:
    """Kill the processes that are being started: Dask would wait until each of them reports."""
    hush()
    while not coming.done():
        for process in set(psutil.Process().children()) - set(others):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait([coming], 0.1)
