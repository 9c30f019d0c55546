"""The time of a solve outside Phi, against Dask's own time for the same number of empty tasks in the same shape."""

from __future__ import annotations

import gc
import logging
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

import daskmgrit as dm
from benchmarks.oracle import Submitted, Trace, trace
from benchmarks.waiting import Idle, Waits
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.cost import PhiCost

__all__ = ["cluster", "moved_bytes", "overhead", "processor_seconds", "run_empty"]

STEPS, CYCLES = 512, 5
SIZES = 100, 1000
# Seconds that an empty graph is waited for.
PATIENCE = 300


@contextmanager
def cluster(workers: int, threads: int = 1) -> Iterator[Any]:
    """A cluster of processes on loopback, and its client."""
    from distributed import Client, LocalCluster

    # Tasks that a solve has submitted ahead are cancelled at its end, which Dask warns of where its workers end, too.
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as local,
        Client(local) as client,
    ):
        client.wait_for_workers(workers, timeout=60)
        # What was imported makes a full collection due, which would stop client and scheduler during a solve.
        gc.collect()
        yield client


def _empty(*args: Any) -> None:
    """An empty task."""


def _books(traced: Trace, workers: list[str]) -> list[tuple[TaskBook, list[str], set[str]]]:
    """Build all graphs of a solve with empty tasks; return each with its outputs for later graphs and its inputs."""
    run = uuid.uuid4().hex[:8]
    events = [event for event in traced.events if isinstance(event, Submitted)]
    later: list[set[str]] = [set() for _ in events]
    for number, event in enumerate(events):
        mine = {task.key for task in event.tasks}
        for task in event.tasks:
            for earlier in range(number):
                later[earlier] |= {key for key in task.needs if key not in mine}
    books = []
    for number, event in enumerate(events):
        book = TaskBook(workers)
        made: dict[str, Delayed] = {}
        outer: set[str] = set()
        for task in event.tasks:
            args = []
            for key in task.needs:
                if key in made:
                    args.append(made[key])
                else:
                    # To be replaced by the future, once there is one.
                    name = f"{key}-{run}"
                    args.append(Delayed(name, HighLevelGraph({name: {name: None}}, {name: set()})))
                    outer.add(name)
            urgent = task.rank[0] < 0
            made[task.key] = book.add(f"{task.key}-{run}", _empty, *args, owner=task.owner, urgent=urgent)
        waited = {event.key for event in traced.events if not isinstance(event, Submitted)}
        wanted = [f"{key}-{run}" for key in made if key in later[number] or key in waited]
        # The last state is wanted, too.
        books.append((book, wanted or [f"{event.tasks[-1].key}-{run}"], outer))
    return books


def run_empty(client: Any, traced: Trace) -> float:
    """Submit the graphs of a solve with empty tasks, waiting where the solve waits; return the seconds.

    The graphs are built before the clock starts, so only Dask is timed.
    """
    from distributed import wait

    workers = sorted(client.nthreads())
    books = iter(_books(traced, workers))
    futures: dict[str, Any] = {}
    run = ""
    clock = time.perf_counter()
    for event in traced.events:
        if isinstance(event, Submitted):
            book, wanted, outer = next(books)
            for name in outer:
                book.layers[name] = MaterializedLayer({name: futures[name]})
            futures.update(zip(wanted, client.get(book.graph(), wanted, sync=False), strict=True))
            run = wanted[0].rpartition("-")[2]
        else:
            futures[f"{event.key}-{run}"].result(timeout=PATIENCE)
    wait(list(futures.values()), timeout=PATIENCE)
    return time.perf_counter() - clock


def processor_seconds(client: Any) -> float:
    """Processor time so far of this process, which is client and scheduler, and of the workers."""
    return time.process_time() + sum(client.run(time.process_time).values())


def moved_bytes(client: Any) -> int:
    """Bytes that went from worker to worker since the last call."""

    def collect(dask_worker: Any) -> int:
        log = list(dask_worker.transfer_incoming_log)
        dask_worker.transfer_incoming_log.clear()
        return sum(entry["total"] for entry in log)

    return sum(client.run(collect).values())


def overhead(
    phis: tuple[float, ...] = (0.001, 0.01, 0.1),
    sizes: tuple[int, ...] = SIZES,
    repeats: int = 6,
    note: Any = print,
) -> dict[str, Any]:
    """Measure on two worker processes with two chunks, every level in tasks of its own.

    Parameters
    ----------
    phis : tuple of float
        Seconds that a call of Phi takes, for the share of the time inside Phi.
    sizes : tuple of int
        Numbers of weights, with a Phi that takes almost no time.
    repeats : int
        Solves and empty graphs, in turn.
    note : callable
        Called with progress messages.
    """
    report: dict[str, Any] = {"steps": STEPS, "workers": 2, "cycles": CYCLES, "sizes": [], "shares": []}
    with cluster(2) as client, dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": False}):
        for size in sizes:
            report["sizes"].append(_beside_phi(client, size, repeats, note))
        for seconds in phis:
            note(f"Phi of {1e3 * seconds:g} ms a call")
            # As a user has it: the solve chooses which levels run within one task.
            with dask.config.set({"daskmgrit.agglomerate": "auto"}):
                result = _solve(client, Waits(Idle(), seconds, together=True), sizes[0], CYCLES)
            spent, inside = sum(result.timings["cycles"]), _inside(result)
            report["shares"].append(
                {
                    "phi_seconds": seconds,
                    "seconds": spent,
                    "share": inside / spent,
                    "path_share": seconds * _chain(result) / spent,
                }
            )
    return report


def _solve(client: Any, phi: Any, size: int, cycles: int) -> Any:
    return dm.MGRIT(phi, STEPS).solve(np.linspace(1, 2, size), tol=0, maxiter=cycles, chunks=2, client=client)


def _beside_phi(client: Any, size: int, repeats: int, note: Any) -> dict[str, Any]:
    """Time solves with `size` weights and an almost free Phi, and their graphs with empty tasks, in turn."""
    traced = trace(build_hierarchy(STEPS), [1, 1], PhiCost(1e-6), chunks=2, cycles=CYCLES, row_bytes=8 * size)
    _solve(client, Idle(), size, 1)
    run_empty(client, traced)
    ours, empty, spent, spent_empty = [], [], [], []
    for number in range(repeats):
        note(f"{size} weights: empty tasks and a solve, {number + 1} of {repeats}")
        begin = processor_seconds(client)
        empty.append(run_empty(client, traced))
        middle = processor_seconds(client)
        result = _solve(client, Idle(), size, CYCLES)
        spent_empty.append(middle - begin)
        spent.append(processor_seconds(client) - middle)
        # Two workers share the time inside Phi, which is next to none.
        ours.append(result.timings["total"] - sum(result.timings["phi"]) / 2)
    moved_bytes(client)
    few = _solve(client, Idle(), size, 2)
    short = moved_bytes(client)
    many = _solve(client, Idle(), size, 2 + CYCLES)
    return {
        "weights": size,
        "tasks": result.tasks,
        "empty_tasks": len(traced.tasks),
        "seconds": ours,
        "empty_seconds": empty,
        "ratio": min(ours) / min(empty),
        "ratios": [a / b for a, b in zip(ours, empty, strict=True)],
        "processor_ratio": statistics.median(spent) / statistics.median(spent_empty),
        "processor_seconds": spent,
        "empty_processor_seconds": spent_empty,
        "milliseconds_per_task": 1e3 * min(ours) / result.tasks,
        "tasks_per_cycle": (many.tasks - few.tasks) / CYCLES,
        "bytes_per_cycle": (moved_bytes(client) - short) / CYCLES,
    }


def _inside(result: Any) -> float:
    """Seconds of the cycles in which at least one worker was inside Phi."""
    spans = sorted((record.start, record.start + record.phi_seconds) for record in result.records if record.cycle > 0)
    covered, end = 0.0, 0.0
    for start, stop in spans:
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def _chain(result: Any) -> int:
    """Calls of Phi in a row, of the cycles."""
    before = [record for record in result.records if record.cycle == 0]
    return int(result.critical_path) - max((record.calls for record in before), default=0)
