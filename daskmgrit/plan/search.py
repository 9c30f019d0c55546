"""The best coarsening, cycle and chunks for a cluster, and how many workers MGRIT needs to pay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from daskmgrit.hierarchy import Hierarchy, build_hierarchy
from daskmgrit.layout import Layout
from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.waves import Prediction, predict
from daskmgrit.planning import most_chunks, plan_layout

__all__ = ["COARSENINGS", "Plan", "Planner"]

# On level 0, and from level 1 down.
COARSENINGS = tuple((first, rest) for first in (2, 4, 8, 16) for rest in (2, 4, 8) if rest <= first)

# Tasks of a cycle up to which numbers of chunks are searched finely.
FINE = 2000

Coarsening = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to solve, and what it is predicted to take.

    Attributes
    ----------
    hierarchy : Hierarchy
        Levels and cycle.
    coarsening : tuple of int
        Factor of each level, the last repeating.
    layout : Layout
        How the levels are cut.
    beside : bool
        Whether ``Phi_c(v)`` has tasks of its own.
    machine : Machine
        The cluster.
    iterations : float
        Cycles that it is taken to need.
    prediction : Prediction
        What a cycle takes.
    serial : float
        Seconds of serial training.
    """

    hierarchy: Hierarchy
    coarsening: Coarsening
    layout: Layout
    beside: bool
    machine: Machine
    iterations: float
    prediction: Prediction
    serial: float

    @property
    def chunks(self) -> int:
        """Chunks of level 0."""
        return len(self.layout.levels[0]) if self.layout.levels else 1

    @property
    def seconds(self) -> float:
        """Predicted seconds of the solve."""
        return self.prediction.total(self.iterations)

    @property
    def speedup(self) -> float:
        """Serial seconds over predicted ones."""
        return self.serial / self.seconds

    @property
    def efficiency(self) -> float:
        """Speedup per worker thread."""
        return self.speedup / self.machine.slots


@dataclass
class Planner:
    """Searches settings for N steps.

    Parameters
    ----------
    steps : int
        N.
    cost : callable
        ``cost(coarsening) -> PhiCost``: coarse steps may cost more for larger factors.
    iterations : callable
        ``iterations(coarsening, cycle) -> float`` cycles to convergence, nan where it does not converge.
    row_bytes : int
        Bytes of a state.
    coarsenings : sequence of tuple of int
        Coarsening factors to try.
    cycles : sequence of str
        Cycles to try.
    relaxation : str or sequence of str
        Relaxation.
    min_coarse : int
        Levels are added while the coarsest has more steps.
    chunks : int, optional
        Chunks of level 0, one per thread at most; by default the best number.
    """

    steps: int
    cost: Callable[[Coarsening], PhiCost]
    iterations: Callable[[Coarsening, str], float]
    row_bytes: int = 0
    coarsenings: Sequence[Coarsening] = COARSENINGS
    cycles: Sequence[str] = ("V", "F")
    relaxation: str | Sequence[str] = "FCF"
    min_coarse: int = 10
    chunks: int | None = None

    def __post_init__(self) -> None:
        self._known: dict[object, float] = {}
        self._hierarchies: dict[tuple[Coarsening, str], Hierarchy] = {}
        self._best: dict[Machine, list[Plan]] = {}
        self.coarsenings = [m for m in self.coarsenings if m[0] <= self.steps]
        if not self.coarsenings:
            raise ValueError(f"steps={self.steps} is below every coarsening factor: there is nothing to coarsen")
        if self.chunks is not None:
            most = max(most_chunks(self.hierarchy(m, "V")) for m in self.coarsenings)
            if self.chunks > most:
                raise ValueError(f"chunks={self.chunks} is more than one per F-interval: give at most {most}")
            self.coarsenings = [m for m in self.coarsenings if most_chunks(self.hierarchy(m, "V")) >= self.chunks]

    def hierarchy(self, coarsening: Coarsening, cycle: str) -> Hierarchy:
        """Return the levels."""
        name = (coarsening, cycle)
        if name not in self._hierarchies:
            self._hierarchies[name] = build_hierarchy(
                self.steps, list(coarsening), None, self.min_coarse, cycle, self.relaxation
            )
        return self._hierarchies[name]

    def plan(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int | None = None) -> Plan:
        """Predict one way to solve; by default with the chunks that the solve itself would choose."""
        hierarchy, cost = self.hierarchy(coarsening, cycle), self.cost(coarsening)
        threads = [machine.threads] * machine.workers
        # Where cores are shared, so is what tasks cost.
        hosts = 1 if machine.cores else machine.workers
        layout, beside = plan_layout(
            hierarchy, chunks, threads, "distributed", cost.call + cost.state, self.row_bytes, hosts=hosts
        )
        prediction = predict(hierarchy, layout, beside, machine, cost, self.row_bytes, self._known)
        iterations = self.iterations(coarsening, cycle)
        return Plan(hierarchy, coarsening, layout, beside, machine, iterations, prediction, cost.serial(self.steps))

    def least_seconds(self, coarsening: Coarsening, cycle: str, machine: Machine) -> float:
        """Return a time that a way to solve cannot beat: its Phi shared out evenly, or its chain of Phi and tasks."""
        hierarchy, cost = self.hierarchy(coarsening, cycle), self.cost(coarsening)
        work = chain = 0.0
        for number, level in enumerate(hierarchy.levels[:-1]):
            visits = number + 1 if cycle == "F" and number else 1
            each = (1 + level.nu) * cost.of_level(number)
            work += visits * each * level.steps * cost.state
            chain += visits * each * (level.coarsening - (number > 0)) * (cost.call + cost.state)
        last = hierarchy.last
        work_last = hierarchy[last].steps * cost.of_level(last) * (cost.call + cost.state)
        overhead = 2 * machine.latency + machine.scheduler + machine.worker
        return self.iterations(coarsening, cycle) * (max(work / machine.slots, chain) + work_last + overhead)

    def best(self, machine: Machine) -> Plan:
        """Return the best plan for a cluster.

        Raises
        ------
        ValueError
            If nothing converges.
        """
        return self.candidates(machine)[0]

    def candidates(self, machine: Machine) -> list[Plan]:
        """Return the best plans for a cluster, a few that are near to each other, the best first.

        Raises
        ------
        ValueError
            If nothing converges.
        """
        if machine in self._best:
            return self._best[machine]
        chunks = None if self.chunks is None else min(self.chunks, machine.slots)
        bounds = sorted(
            (self.least_seconds(m, cycle, machine), cycle == "F", m) for m in self.coarsenings for cycle in self.cycles
        )
        found: list[Plan] = []
        for bound, is_f, m in bounds:
            if not math.isfinite(bound) or (found and bound >= min(plan.seconds for plan in found)):
                continue
            found.append(self.plan(m, "F" if is_f else "V", machine, chunks))
        if not found:
            raise ValueError("none of these coarsening factors and cycles converges: give iterations, or other steps")
        found.sort(key=lambda plan: plan.seconds)
        # What the solve would choose itself is near the best number of chunks; look around it where it matters.
        tuned = [self._tune(plan) for plan in found[: 6 if found[0].prediction.tasks <= FINE else 3]]
        self._best[machine] = sorted(tuned, key=lambda plan: plan.seconds)
        return self._best[machine]

    def _tune(self, plan: Plan) -> Plan:
        """Try more and fewer chunks, of equal length, as long as it helps."""
        if self.chunks is not None:
            return plan
        size = plan.hierarchy[0]
        most = min(plan.machine.slots, most_chunks(plan.hierarchy))
        intervals = math.ceil(size.steps / size.coarsening)
        best = plan
        # Small graphs cost little to look at, and there a few chunks more or less show.
        for factor in (0.5, 2.0, 0.8, 1.25) if plan.prediction.tasks <= FINE else (0.5, 2.0):
            while True:
                wanted = max(1, min(most, round(factor * best.chunks)))
                chunks = min(most, math.ceil(intervals / math.ceil(intervals / wanted)))
                if chunks == best.chunks:
                    break
                tried = self.plan(plan.coarsening, plan.hierarchy.cycle, plan.machine, chunks)
                if tried.seconds >= best.seconds:
                    break
                best = tried
        return best

    def break_even(self, machine: Machine) -> int | None:
        """Return the least number of worker threads with which MGRIT beats serial training; None if none does.

        Threads per worker are those of `machine`.
        """
        low, high = 0, 1
        # No more than an F-interval each can be of use.
        most = math.ceil(self.steps / 2 / machine.threads)
        if all(
            not self.least_seconds(m, cycle, replace(machine, workers=most)) < self.cost(m).serial(self.steps)
            for m in self.coarsenings
            for cycle in self.cycles
        ):
            return None
        while (plan := self.best(replace(machine, workers=high))).speedup <= 1:
            if high >= most or (low and plan.seconds > 0.99 * self.best(replace(machine, workers=low)).seconds):
                return None
            low, high = high, min(2 * high, most)
        while high - low > max(1, low // 20):
            middle = (low + high) // 2
            if self.best(replace(machine, workers=middle)).speedup > 1:
                high = middle
            else:
                low = middle
        return high * machine.threads

    def limit(self, machine: Machine) -> int | None:
        """Return the number of worker threads from which on four times as many save less than a fifth.

        None if that is beyond the threads of `machine`.
        """
        workers = 1
        while workers < machine.workers:
            more = min(4 * workers, machine.workers)
            now, then = self.best(replace(machine, workers=workers)), self.best(replace(machine, workers=more))
            if 1 - then.seconds / now.seconds < 0.2 * (more / workers - 1) / 3:
                return workers * machine.threads
            workers = more
        return None
