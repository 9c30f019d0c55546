"""The cost of tasks, messages and transfers on a connected cluster."""

from __future__ import annotations

import math
import os
import statistics
import time
import uuid
from typing import Any

import dask
import numpy as np
from dask.system import CPU_COUNT

from daskmgrit.errors import ClusterError
from daskmgrit.graph.submission import TaskBook
from daskmgrit.mgrit import MGRIT
from daskmgrit.planning.machine import Machine
from daskmgrit.utils.array_api import Array

__all__ = ["measure_machine"]

STEPS, CYCLES = 512, 4
LINKS, REPEATS = 20, 5
# Bytes that show the bandwidth.
LARGE = 8 << 20
# Seconds that a chain of a few empty tasks is waited for.
PATIENCE = 120


class _Nothing:
    """A Phi that takes no time."""

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        return weights.copy()


def measure_machine(client: Any, seconds: float = math.inf) -> Machine:
    """Measure a cluster by a solve whose Phi does nothing, and by chains of empty tasks.

    The solve shows the processor time that a task costs the scheduler, its worker and the client, which is valid also
    if others use the cores. Chains show latency and bandwidth; the best of several counts.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    seconds : float, default inf
        Approximate time limit: it leaves fewer cycles and repeats, at least one each.

    Raises
    ------
    ClusterError
        If the cluster has no workers, or does not finish a chain of empty tasks within two minutes.
    """
    clock, threads = time.perf_counter(), client.nthreads()
    if not threads:
        raise ClusterError("the cluster has no workers to measure: start one with `dask worker ADDRESS`")
    workers, ends = sorted(threads), clock + seconds
    chunks = min(STEPS // 2, max(8, sum(threads.values())))
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        # The first imports what is needed everywhere.
        MGRIT(_Nothing(), 16).solve(np.zeros(16), tol=0, maxiter=1, chunks=2, client=client)
        # As long a solve as there is half of the time for: each has some three times as many tasks as the one before.
        for steps, cycles in ((2 * chunks, 1), (STEPS, 1), (STEPS, CYCLES)):
            solver, before = MGRIT(_Nothing(), steps), _times(client)
            mine, began = time.thread_time(), time.perf_counter()
            tasks = solver.solve(np.zeros(16), tol=0, maxiter=cycles, chunks=chunks, client=client).tasks
            built, after, took = time.thread_time() - mine, _times(client), time.perf_counter() - began
            if time.perf_counter() + 3 * took > clock + seconds / 2:
                break
    scheduler = (after["scheduler"] - before["scheduler"]) / tasks
    worker = sum(after[place] - before.get(place, 0.0) for place in after.keys() - {"scheduler"}) / tasks

    near, own = _chain(client, workers[:1], 0, ends)
    latency = max(1e-4, (near - own) / 2)
    transfer, bandwidth = Machine(1).transfer, Machine(1).bandwidth
    if len(workers) > 1:
        pair = [workers[0], workers[-1]]
        far, large = _chain(client, pair, 0, ends)[0], _chain(client, pair, LARGE, ends)[0]
        # Where the difference is in the noise: a fetch is a message, too.
        transfer = max(latency, far - near)
        bandwidth = LARGE / max(1e-4, large - far)
    hosts = {name.rpartition("://")[2].rpartition(":")[0] for name in workers}
    here = hosts <= {"127.0.0.1", "localhost", "[::1]", ""}
    return Machine(
        workers=len(workers),
        threads=round(statistics.mean(threads.values())),
        scheduler=scheduler,
        worker=worker,
        client=built / tasks,
        latency=latency,
        transfer=transfer,
        bandwidth=bandwidth,
        cores=CPU_COUNT if here else None,
    )


def _nothing(*args: Any) -> None:
    """An empty task."""


def _large(size: int, *args: Any) -> bytes:
    """A task with a large result."""
    return os.urandom(1 << 16) * (size >> 16)


def _chain(client: Any, workers: list[str], size: int, ends: float) -> tuple[float, float]:
    """Seconds per link of a chain of tasks from worker to worker, and the processor time in them.

    Chains repeat until the clock is at `ends`.
    """
    best = (np.inf, 0.0)
    for repeat in range(REPEATS):
        if repeat and time.perf_counter() > ends:
            break
        book, run = TaskBook(workers), uuid.uuid4().hex[:8]
        task: list[Any] = []
        for link in range(LINKS):
            function, args = (_large, (size,)) if size else (_nothing, ())
            key = f"measure-{run}-{link}"
            task = [book.add(key, function, *args, *task, owner=link % len(workers))]
        before, clock = _times(client), time.perf_counter()
        future = client.get(book.graph(), [task[0].key], sync=False)[0]
        try:
            future.result(timeout=PATIENCE)
        except TimeoutError:
            raise ClusterError(
                f"the cluster did not finish {LINKS} empty tasks within {PATIENCE} s: free its workers, or give its "
                "overheads"
            ) from None
        seconds = time.perf_counter() - clock
        after = _times(client)
        own = sum(after[name] - before[name] for name in after)
        best = min(best, (seconds / LINKS, min(own, seconds) / LINKS))
    return best


def _times(client: Any) -> dict[str, float]:
    """Processor seconds of the scheduler's loop and of each process of workers so far."""
    # Where a worker is a thread of this process, only its loop can be told apart.
    here = os.getpid()

    def worker_time() -> tuple[str, float]:
        import os
        import socket
        import threading
        import time

        if os.getpid() == here:
            return f"thread {threading.get_ident()}", time.thread_time()
        # One process may have several workers.
        return f"{socket.gethostname()}, {os.getpid()}", time.process_time()

    # The loop runs this, so its thread is the loop's.
    times = {"scheduler": float(client.run_on_scheduler(time.thread_time))}
    return times | dict(client.run(worker_time).values())
