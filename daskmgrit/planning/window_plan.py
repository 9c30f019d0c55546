"""The time of parallel Newton on a cluster, and its fastest numbers of slots and worker processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from daskmgrit.planning.acceptance import Acceptance
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.solver.window_iteration import ROUND_SECONDS

__all__ = ["WindowPlan", "best_window", "plan_window"]

# Numbers of slots that are tried, up to one for each thread.
TRIED = (*range(2, 17), *(lead * 2**power // 4 for power in range(4, 15) for lead in (5, 6, 7, 8)))
# Seconds of a sweep besides Phi: of any, and for each byte of its window.
OWN, OWN_BYTE = 1e-3, 4e-9
# The same on threads of one process, where sweeps overlap.
OWN_OVERLAPPED, OWN_BYTE_OVERLAPPED = 6e-4, 6e-10
# Seconds to hand a slot over to a thread.
HANDOVER = 6e-5
# What a process's evaluations take to come from another, in fetches of a result by Dask: waiting, and work of the two.
WAIT, WORK = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A way to solve by parallel Newton, and its prediction.

    Attributes
    ----------
    slots : int
        Slots of the window, a step each.
    workers : int
        Worker processes that have slots.
    threads : int
        Threads of all of them that have slots.
    accepted : float
        Steps that a sweep accepts.
    sweeps : int
        Sweeps of the solve.
    work : float
        Number of evaluations of a step.
    sweep_seconds : float
        Time of a sweep.
    seconds, serial : float
        Times of the solve and of serial training.
    most_seconds : float
        Time of the solve if its sweeps accept as few steps as those of the slower half of the measured steps.
    """

    slots: int
    workers: int
    threads: int
    accepted: float
    sweeps: int
    work: float
    sweep_seconds: float
    seconds: float
    serial: float
    most_seconds: float

    @property
    def least_speedup(self) -> float:
        """Serial seconds over the most that are predicted."""
        return self.serial / self.most_seconds

    @property
    def speedup(self) -> float:
        """Serial seconds over predicted ones."""
        return self.serial / self.seconds

    @property
    def options(self) -> dict[str, Any]:
        """Options of :class:`daskmgrit.ParallelNewton`."""
        return {"window": self.slots, "jacobian": "identity"}

    def python(self, steps: int) -> str:
        """Return the line of Python that solves in this way."""
        return f'dm.ParallelNewton(phi, {steps}, window={self.slots}, jacobian="identity").solve(w0)'


def plan_window(
    steps: int,
    slots: int,
    machine: Machine,
    cost: PhiCost,
    accepted: Acceptance,
    row_bytes: int = 0,
) -> WindowPlan:
    """Predict a solve with `slots` slots, distributed evenly over the fewest processes with a thread for each.

    Parameters
    ----------
    steps : int
        N.
    slots : int
        Slots of the window.
    machine : Machine
        The cluster.
    cost : PhiCost
        Cost of Phi; only that of level 0 counts.
    accepted : Acceptance
        ``accepted(slots)`` steps that a sweep accepts.
    row_bytes : int
        Bytes of a state.
    """
    workers = min(machine.workers, math.ceil(slots / machine.threads))
    threads = min(slots, workers * machine.threads)
    here = math.ceil(threads / workers)
    own, byte = (OWN_OVERLAPPED, OWN_BYTE_OVERLAPPED) if workers == 1 and here > 1 else (OWN, OWN_BYTE)
    own += byte * slots * row_bytes + (HANDOVER * here if here > 1 else 0.0)
    phi = own + cost.at_once(here).seconds([math.ceil(slots / threads)], 0)
    # A round is a task for each process, and one that tells the client.
    busy = machine.scheduler * (workers + 1) + machine.worker * (workers if machine.cores else 1)
    overhead = busy + (2 if workers == 1 else 4) * machine.latency
    sweep = phi
    if workers > 1:
        # A process has its turn with one other after another; where cores are shared, all have.
        turns = workers * (workers - 1) / machine.cores if machine.cores else workers - 1
        sweep += machine.transfer * (WAIT + WORK * turns) + slots * row_bytes / machine.bandwidth
    sweep += overhead * min(1.0, sweep / ROUND_SECONDS)
    each = accepted(slots)
    sweeps = math.ceil(steps / each - 1e-6)
    most = min(steps, math.ceil(steps / max(1.0, each * accepted.least) - 1e-6))
    return WindowPlan(
        slots,
        workers,
        threads,
        each,
        sweeps,
        slots / each,
        sweep,
        sweeps * sweep + overhead,
        cost.serial(steps),
        most * sweep + overhead,
    )


def best_window(
    steps: int, machine: Machine, cost: PhiCost, accepted: Acceptance, row_bytes: int = 0
) -> WindowPlan | None:
    """Return the fastest way to solve with at most a slot for each thread; None for a single thread."""
    tried = [slots for slots in TRIED if slots <= min(machine.slots, steps)]
    plans = [plan_window(steps, slots, machine, cost, accepted, row_bytes) for slots in tried]
    return min(plans, key=lambda plan: plan.seconds, default=None)
