"""The number of worker threads from which a method beats serial training."""

from __future__ import annotations

import math
from dataclasses import replace

from daskmgrit.planning.machine import Machine
from daskmgrit.planning.search import Planner
from daskmgrit.planning.source import Source
from daskmgrit.planning.window_plan import TRIED, best_window

__all__ = ["even_words", "mgrit_pays_from", "window_pays_from", "with_threads"]


def with_threads(machine: Machine, threads: int) -> Machine:
    """Return a part of a cluster, or a larger one of the same kind: some threads of one process, or whole processes."""
    if threads < machine.threads:
        return replace(machine, workers=1, threads=threads)
    return replace(machine, workers=math.ceil(threads / machine.threads))


def mgrit_pays_from(planner: Planner, machine: Machine) -> int | None:
    """Return the least number of worker threads with which MGRIT beats serial training; None if none does."""
    workers = planner.break_even(machine)
    if workers != 1:
        return workers and workers * machine.threads
    # Fewer threads of that process may do.
    return next(n for n in range(1, machine.threads + 1) if planner.best(with_threads(machine, n)).speedup > 1)


def window_pays_from(steps: int, source: Source, machine: Machine) -> int | None:
    """Return the least number of worker threads with which parallel Newton beats serial training; None if none does."""
    for threads in TRIED:
        # Some of one process, or all of several.
        if threads < machine.threads or threads % machine.threads == 0:
            part = with_threads(machine, threads)
            found = best_window(steps, part, source.window_cost, source.accepted, source.window_bytes)
            if found is not None and found.seconds < found.serial:
                return threads
    return None


def even_words(name: str, threads: int | None) -> str:
    """Return the number of workers from which a method pays, in words."""
    if threads is None:
        return f"{name}: does not pay with any number of workers"
    return f"{name}: {threads} worker{'s' * (threads > 1)}"
