"""The memory that a solve holds on a cluster's workers, and its peak.

A solve on a cluster holds two states of level 0 between cycles: that of the last cycle whose residual is known, and
that of the next, which is submitted ahead. At the peak there is a third, if the cycle after that has relaxed its chunks
and the client does not know yet that the first can be freed; and coarse levels, each with values and right-hand sides.
The memory of running tasks is an estimate, because it depends on Phi, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np

from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.machine import Machine

__all__ = ["STORAGES", "Memory", "memory_limit", "memory_of", "share", "storage_that_fits"]

STORAGES = ("full", "c-points")
# States that a running stage holds for each F-interval of its chunk, in addition to its block and its result: what Phi
# is given and returns, the residual, what is on its way to the coarse level.
AT_WORK = 6
# States that a worker holds per point of the finest of the levels that it runs within one task.
GATHERED = 6


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of states, without those of Python and its packages.

    Attributes
    ----------
    held : int
        Between cycles, of the worker process that holds most.
    held_in_all : int
        The same of all workers.
    peak : int
        Maximum of a worker process.
    at_work : int
        The part of it for running tasks, with their blocks and results: this cannot go to disk.
    """

    held: int
    held_in_all: int
    peak: int
    at_work: int


def memory_of(
    hierarchy: Hierarchy,
    plan: ChunkPlan,
    machine: Machine,
    row_bytes: int,
    storage: str = "full",
) -> Memory:
    """Return the memory of a solve on the workers of a cluster.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    plan : ChunkPlan
        The chunks of the levels, and the tasks that settle residuals.
    machine : Machine
        The workers.
    row_bytes : int
        Bytes of a state.
    storage : str
        ``"full"`` or ``"c-points"``.
    """
    size, layout = hierarchy[0], plan.layout
    bounds = layout.bounds(hierarchy)
    owners = np.array(layout.levels[0].owners if layout.levels else (0,))
    intervals = np.diff(bounds)
    rows = intervals if storage == "c-points" else size.chunk_points(bounds)
    # Where the next C-relaxation does not settle a residual on its way, what that will find is kept with each block.
    fused = bool(layout.levels) and size.nu > 0 and not plan.apart
    kept = rows if fused else rows + intervals

    def on_workers(numbers: Any, places: Any = owners) -> np.ndarray:
        return np.bincount(places, weights=numbers, minlength=machine.workers)

    held = 2 * on_workers(kept)
    coarse = np.zeros(machine.workers)
    for number, level in enumerate(layout.levels[1:], start=1):
        coarse += 2 * on_workers(hierarchy[number].chunk_points(level.bounds), np.array(level.owners))
    if layout.gathered:
        coarse[owners[len(owners) // 2]] += GATHERED * (hierarchy[layout.gathered].steps + 1)
    running = min(machine.threads, int(np.bincount(owners).max()))
    at_work = running * (2 * int(rows.max()) + AT_WORK * int(intervals.max()))
    beside = running * AT_WORK * int(intervals.max())
    peak = (held + on_workers(rows) + coarse).max() + beside
    return Memory(int(held.max()) * row_bytes, int(held.sum()) * row_bytes, int(peak) * row_bytes, at_work * row_bytes)


def share() -> float:
    """Return the share of its memory limit up to which a worker of a Dask cluster keeps results out of files."""
    import distributed  # noqa: F401  what it reads from dask.config has its defaults from there

    fractions = [dask.config.get(f"distributed.worker.memory.{name}", False) for name in ("target", "spill")]
    return min([float(fraction) for fraction in fractions if fraction], default=0.95)


def storage_that_fits(limit: int, row_bytes: int) -> Callable[[Hierarchy, ChunkPlan, Machine], str | None]:
    """Return a function for the storage with which a setting fits into `limit` bytes per worker process.

    The function returns None if the setting fits with none. It fits if nothing needs to be written to files.
    """

    def storage(hierarchy: Hierarchy, plan: ChunkPlan, machine: Machine) -> str | None:
        for name in STORAGES:
            if memory_of(hierarchy, plan, machine, row_bytes, name).peak <= share() * limit:
                return name
        return None

    return storage


def memory_limit(client: Any) -> int | None:
    """Return the least memory limit of a cluster's worker processes, None without limit."""
    # A scheduler that keeps the list short must be asked for all.
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [int(worker["memory_limit"]) for worker in workers if worker.get("memory_limit")]
    return min(limits, default=None)
