"""Limits with many single-threaded workers: the scheduler's time by messages, cycles, a large graph."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.system import CPU_COUNT

import daskmgrit as dm
from benchmarks.oracle import replay, trace
from benchmarks.overhead import PATIENCE, cluster
from benchmarks.waiting import Idle, Waits
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine

__all__ = ["QUICK", "WHOLE", "Sizes", "scale"]

# An F-interval for each worker.
COARSENING = [8, 4]
WEIGHTS, PROCESSES = 16, 2
# Of a solve with up to 64 workers; with more of them one has as many tasks.
CYCLES, FEW = 4, 64
FREE = dict.fromkeys(("scheduler", "worker", "client", "latency", "transfer"), 0.0)
# Periodic work of each worker, with or without tasks: too frequent for a hundred workers in one process.
QUIET = {
    "LOGGING__DISTRIBUTED": "critical",
    "WORKER__PROFILE__ENABLED": "False",
    "ADMIN__TICK__INTERVAL": "5s",
    "ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}
# Of the shapes whose messages are counted.
TASKS, LINKS, STAGES, REPEATS = 2000, 300, 20, 3


class Sizes(NamedTuple):
    """Sizes of the measurement: workers, waiting workers, seconds of a Phi; steps and chunks of a large graph."""

    workers: tuple[int, ...]
    waiting: tuple[int, ...]
    seconds: float
    steps: int
    chunks: int


QUICK = Sizes((2, 16, 64), (64,), 0.25, 100_000, 100)
WHOLE = Sizes((2, 16, 64, 256), (64, 256), 0.5, 1_000_000, 1000)


def scale(sizes: Sizes = QUICK, note: Any = print) -> dict[str, Any]:
    """Measure clusters of single-threaded workers, some in each of two processes, without nannies.

    Parameters
    ----------
    sizes : Sizes
        What to measure.
    note : callable
        Called with progress messages.
    """
    report: dict[str, Any] = {"cycles": CYCLES, "few": FEW, "coarsening": COARSENING, "messages": [], "waiting": []}
    for count in sizes.workers:
        with many_workers(count) as client:
            for name, build in SHAPES.items():
                note(f"{count} workers: {name}")
                report["messages"].append({"workers": count, "shape": name} | _shape(client, build))
            note(f"{count} workers: a solve")
            _solve(client, Idle(), count, 1)
            solved = _solved(client, Idle(), count)
            report["messages"].append({"workers": count, "shape": "a solve"} | solved)
            if count in sizes.waiting:
                note(f"{count} workers that wait {1e3 * sizes.seconds:g} ms a Phi")
                machine = Machine(
                    count, scheduler=solved["scheduler_per_task"], worker=solved["workers_per_task"], cores=CPU_COUNT
                )
                report["waiting"].append(_waiting(client, machine, sizes.seconds))
    note(f"{sizes.steps} steps in {sizes.chunks} chunks")
    report["large"] = _large(sizes.steps, sizes.chunks)
    return report


@contextmanager
def many_workers(count: int) -> Iterator[Any]:
    """A scheduler in this process, single-threaded workers in two others, and a client."""
    from distributed import Client, LocalCluster

    environment = os.environ | {f"DASK_DISTRIBUTED__{name}": value for name, value in QUIET.items()}
    shares = [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]
    with LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
    ) as local:
        command = [sys.executable, "-m", "benchmarks.worker_process", local.scheduler_address]
        children = [
            subprocess.Popen([*command, str(share)], env=environment, stderr=subprocess.DEVNULL)
            for share in shares
            if share
        ]
        try:
            with Client(local) as client:
                client.wait_for_workers(count, timeout=PATIENCE)
                yield client
        finally:
            local.close()
            for child in children:
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()


# -- the scheduler's time by messages ----------------------------------------------------------------------------------


def _nothing(*args: Any) -> None:
    """An empty task."""


def _apart(add: Callable[..., Any], workers: int) -> list[Any]:
    return [add(owner=number % workers) for number in range(TASKS)]


def _on_one(add: Callable[..., Any], workers: int) -> list[Any]:
    task: list[Any] = []
    for _ in range(LINKS):
        task = [add(*task, owner=0)]
    return task


def _from_worker_to_worker(add: Callable[..., Any], workers: int) -> list[Any]:
    task: list[Any] = []
    for link in range(LINKS):
        task = [add(*task, owner=link % workers)]
    return task


def _stages(add: Callable[..., Any], workers: int) -> list[Any]:
    row: list[Any] = [add(owner=number) for number in range(workers)]
    for _ in range(STAGES):
        row = [add(*row[max(number - 1, 0) : number + 1], owner=number) for number in range(workers)]
    return row


SHAPES = {
    "independent tasks": _apart,
    "a chain on one worker": _on_one,
    "a chain from worker to worker": _from_worker_to_worker,
    "stages that need their left neighbour": _stages,
}


def _counts(client: Any) -> np.ndarray:
    """Seconds of the scheduler's loop and of the workers' processes, and messages either way."""

    # A message holds all that was to be sent at its time.
    def of_scheduler(dask_scheduler: Any) -> tuple[float, int]:
        return time.thread_time(), sum(stream.batch_count for stream in dask_scheduler.stream_comms.values())

    def of_worker(dask_worker: Any) -> tuple[int, float, int]:
        return os.getpid(), time.process_time(), dask_worker.batched_stream.batch_count

    seconds, down = client.run_on_scheduler(of_scheduler)
    workers = client.run(of_worker).values()
    return np.array(
        [seconds, sum({pid: spent for pid, spent, _ in workers}.values()), down + sum(w[2] for w in workers)]
    )


def _per_task(before: np.ndarray, after: np.ndarray, tasks: int, seconds: float) -> dict[str, float]:
    scheduler, workers, messages = (after - before) / tasks
    return {
        "tasks": tasks,
        "seconds": seconds,
        "tasks_per_second": tasks / seconds,
        "messages_per_task": messages,
        "scheduler_per_task": scheduler,
        "workers_per_task": workers,
        "scheduler_busy": scheduler * tasks / seconds,
    }


def _shape(client: Any, build: Callable[..., list[Any]]) -> dict[str, float]:
    """Run empty tasks; return the run with the least scheduler time."""
    from distributed import wait

    workers, found = sorted(client.nthreads()), []
    for repeat in range(REPEATS):
        book, made = TaskBook(workers), 0

        def add(*needs: Any, owner: int, book: TaskBook = book, repeat: int = repeat) -> Any:
            nonlocal made
            made += 1
            return book.add(f"scale-{repeat}-{id(book)}-{made}", _nothing, *needs, owner=owner)

        last = build(add, len(workers))
        before, clock = _counts(client), time.perf_counter()
        futures = client.get(book.graph(), [task.key for task in last], sync=False)
        wait(futures, timeout=PATIENCE)
        seconds = time.perf_counter() - clock
        found.append(_per_task(before, _counts(client), made, seconds))
        del futures
    return min(found, key=lambda row: row["scheduler_per_task"])


# -- cycles ------------------------------------------------------------------------------------------------------------


def _cycles(workers: int) -> int:
    return max(1, CYCLES * FEW // max(workers, FEW))


def _solve(client: Any, phi: Any, workers: int, cycles: int) -> Any:
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        solver = dm.MGRIT(phi, COARSENING[0] * workers, coarsening=COARSENING)
        return solver.solve(np.zeros(WEIGHTS), tol=0, maxiter=cycles, chunks=workers, client=client)


def _solved(client: Any, phi: Any, workers: int) -> dict[str, Any]:
    before, clock = _counts(client), time.perf_counter()
    result = _solve(client, phi, workers, _cycles(workers))
    seconds = time.perf_counter() - clock
    cycle = float(np.mean(result.timings["cycles"]))
    return _per_task(before, _counts(client), result.tasks, seconds) | {"cycle_seconds": cycle}


def _waiting(client: Any, machine: Machine, seconds: float) -> dict[str, Any]:
    """Cycles of a Phi that waits: measured, replayed here, replayed with a core per worker, and without overheads."""
    workers, cost = machine.workers, PhiCost(seconds)
    row = _solved(client, Waits(Idle(), seconds), workers)
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        hierarchy = build_hierarchy(COARSENING[0] * workers, coarsening=COARSENING)
        traced = trace(hierarchy, [1] * workers, cost, chunks=workers, cycles=_cycles(workers), row_bytes=8 * WEIGHTS)
    machines = {"these_cores": machine, "own_cores": replace(machine, cores=None), "path": Machine(workers, **FREE)}
    return (
        row
        | {"workers": workers, "phi_seconds": seconds}
        | {
            f"{name}_seconds": float(np.mean(replay(traced, here, cost, 8 * WEIGHTS).cycles))
            for name, here in machines.items()
        }
    )


def _large(steps: int, chunks: int) -> dict[str, Any]:
    """A cycle of many steps in many chunks on two workers: time per task of the client and the scheduler."""
    solver = dm.MGRIT(Idle(), steps, coarsening=16)
    with cluster(2) as client, dask.config.set({"daskmgrit.agglomerate": 99}):
        solver.solve(np.zeros(4), tol=0, maxiter=1, chunks=2, client=client)
        before, mine, clock = _counts(client), time.thread_time(), time.perf_counter()
        result = solver.solve(np.zeros(4), tol=0, maxiter=2, chunks=chunks, client=client)
        mine, seconds = time.thread_time() - mine, time.perf_counter() - clock
        row = _per_task(before, _counts(client), result.tasks, seconds)
    return row | {
        "steps": steps,
        "chunks": chunks,
        "client_per_task": mine / result.tasks,
        "cycle_seconds": float(np.mean(result.timings["cycles"])),
    }
