"""The best coarsening, cycle, chunks and number of workers within a cluster, and how many workers MGRIT needs to pay.

What is searched for P workers is all that is searched for fewer, and more: each way to solve has a least number of
workers, and numbers of chunks do not follow from P. So the best for P is never worse than the best for fewer.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from daskmgrit.graph.auto_chunks import ChunkPlan, plan_layout
from daskmgrit.graph.chunking import ChunkLayout, most_chunks
from daskmgrit.multigrid.hierarchy import Hierarchy, build_hierarchy
from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.setting import (
    COARSENINGS,
    DENSE,
    Coarsening,
    Plan,
    Setting,
    chunk_numbers,
    fits_threads,
    worker_numbers,
)
from daskmgrit.plan.waves import predict

__all__ = ["Planner"]

# Beyond that, settings whose numbers of chunks are within a factor of two take about as many times their bound.
ALIKE = 0.85


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
    storage : callable, optional
        ``storage(hierarchy, layout, machine, apart) -> str | None``, with `apart` from :meth:`layout`: the
        storage with which a setting fits into the workers' memory. Where none fits, all count.
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
    storage: Callable[[Hierarchy, ChunkLayout, Machine, bool], str | None] | None = None

    def __post_init__(self) -> None:
        self._known: dict[object, float] = {}
        self._hierarchies: dict[tuple[Coarsening, str], Hierarchy] = {}
        self._plans: dict[Setting, Plan] = {}
        self._bounds: dict[Setting, tuple[float, float]] = {}
        self._layouts: dict[object, ChunkPlan] = {}
        self._storages: dict[object, str | None] = {}
        self._chunks: dict[Coarsening, list[int]] = {}
        self._best: dict[Machine, Plan] = {}
        # What settings take, over their bound; by coarsening, cycle and whether threads are spared, and by chunks.
        self._beyond: dict[tuple[Coarsening, str, bool], dict[int, float]] = {}
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
        cut = self.layout(coarsening, cycle, machine, chunks)
        prediction = predict(hierarchy, cut, machine, cost, self.row_bytes, self._known)
        iterations = self.iterations(coarsening, cycle)
        serial = cost.serial(self.steps)
        return Plan(hierarchy, coarsening, cut.layout, cut.beside, machine, iterations, prediction, serial)

    def layout(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int | None) -> ChunkPlan:
        """Return how the solve cuts the levels, and what has tasks of its own."""
        # It is the same for all cycles and overheads.
        name = (coarsening, machine.workers, machine.threads, machine.cores, chunks)
        if name not in self._layouts:
            cost = self.cost(coarsening)
            self._layouts[name] = plan_layout(
                self.hierarchy(coarsening, cycle),
                chunks,
                [machine.threads] * machine.workers,
                "distributed",
                cost.call + cost.state,
                self.row_bytes,
                hosts=machine.hosts,
            )
        return self._layouts[name]

    # -- what is tried ---------------------------------------------------------------------------------------------

    def _settings(self, machine: Machine) -> list[tuple[float, Setting]]:
        """Return all ways to solve on these workers or fewer, with a time that each cannot beat.

        The likely ones come first: they save looking at most of the others.
        """
        settings = []
        for m in self.coarsenings:
            for cycle in self.cycles:
                if not math.isfinite(self.iterations(m, cycle)):
                    continue
                for chunks in self.numbers(m, machine.slots):
                    for workers in worker_numbers(chunks, machine.threads, self.hierarchy(m, cycle)):
                        if workers <= machine.workers:
                            setting = (m, cycle, replace(machine, workers=workers), chunks)
                            phi, tasks = self._bound(*setting)
                            settings.append((phi + tasks, max(phi, tasks), setting))
        if not settings:
            if any(math.isfinite(self.iterations(m, cycle)) for m in self.coarsenings for cycle in self.cycles):
                raise self._too_many_chunks(machine)
            raise ValueError("none of these coarsening factors and cycles converges: give iterations, or other steps")
        settings.sort(key=itemgetter(0))
        return [(bound, setting) for _, bound, setting in settings]

    def _too_many_chunks(self, machine: Machine) -> ValueError:
        """Return what to say where a last C-point that is not alone has no thread."""
        return ValueError(f"chunks={self.chunks} is more than one per thread: give at most {machine.slots}")

    def numbers(self, coarsening: Coarsening, slots: int) -> list[int]:
        """Return the numbers of chunks to try, one per thread at most and one for the last C-point."""
        if self.chunks is not None and self.chunks <= slots + 1:
            return [self.chunks]
        if coarsening not in self._chunks:
            self._chunks[coarsening] = chunk_numbers(self.hierarchy(coarsening, "V"))
        numbers = self._chunks[coarsening]
        return numbers[: bisect.bisect_right(numbers, slots + 1)]

    def _bound(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int) -> tuple[float, float]:
        """Return times that a setting cannot beat: Phi of its longest chunk, and the scheduler's for level 0."""
        name = (coarsening, cycle, machine, chunks)
        if name not in self._bounds:
            hierarchy, cost = self.hierarchy(coarsening, cycle), self.cost(coarsening)
            spent = 0.0
            for number, level in enumerate(hierarchy.levels[:-1]):
                visits = number + 1 if cycle == "F" and number else 1
                each = visits * (1 + level.nu) * cost.of_level(number)
                if number:
                    chain = (level.coarsening - 1) * (cost.call + cost.state)
                    spent += each * max(chain, level.steps / chunks * cost.state)
                else:
                    longest = math.ceil(level.steps // level.coarsening / chunks)
                    spent += each * (level.coarsening * (cost.call + longest * cost.state) - cost.state)
            last = hierarchy.last
            spent += hierarchy[last].steps * cost.of_level(last) * (cost.call + cost.state)
            spent += 2 * machine.latency + machine.scheduler + machine.worker
            nu, edges = hierarchy[0].nu, min(chunks, machine.workers) - 1
            tasks = (2 + nu) * chunks + (1 + nu) * edges if chunks > 1 else 1
            cycles = self.iterations(coarsening, cycle)
            self._bounds[name] = cycles * spent, cycles * tasks * machine.scheduler
        return self._bounds[name]

    def _busy(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int) -> float:
        """Return the least time that the scheduler spends on tasks."""
        hierarchy, tasks = self.hierarchy(coarsening, cycle), 0
        cut = self.layout(coarsening, cycle, machine, chunks)
        for number, level in enumerate(cut.layout.levels):
            visits = number + 1 if cycle == "F" and number else 1
            edges, sweeps = len(set(level.owners)) - 1, hierarchy[number].nu
            tasks += visits * ((2 + sweeps + cut.beside) * len(level) + (1 + sweeps) * edges)
        return self.iterations(coarsening, cycle) * tasks * machine.scheduler

    def _likely(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int) -> float:
        """Return a time that a setting of many chunks hardly beats, from what a similar one takes beyond its bound."""
        similar = self._beyond.get((coarsening, cycle, machine.workers > chunks))
        if chunks <= DENSE or not similar:
            return 0.0
        apart, near = min((max(other / chunks, chunks / other), other) for other in similar)
        return ALIKE * similar[near] * sum(self._bound(coarsening, cycle, machine, chunks)) if apart < 2 else 0.0

    def _plans_of(self, machine: Machine, most: Callable[[], float], fits: bool) -> Iterator[Plan]:
        """Predict one setting after another that may take less than `most` seconds."""
        for bound, setting in self._settings(machine):
            if max(bound, self._likely(*setting)) >= most():
                continue
            m, cycle, part, chunks = setting
            # With threads to spare Phi_c(v) may have tasks of its own; if not, nothing differs.
            if part.threads == 1 and part.workers > chunks and not self.layout(*setting).beside:
                continue
            if not fits_threads(self.hierarchy(m, cycle), self.layout(*setting).layout, part.slots):
                continue
            if self._busy(*setting) >= most():
                continue
            if fits and not self.storage_of(*setting):
                continue
            if setting not in self._plans:
                self._plans[setting] = plan = self.plan(*setting)
                similar = self._beyond.setdefault((m, cycle, part.workers > chunks), {})
                similar[chunks] = plan.seconds / sum(self._bound(*setting))
            yield self._plans[setting]

    def storage_of(self, coarsening: Coarsening, cycle: str, machine: Machine, chunks: int) -> str | None:
        """Return the storage with which a setting fits into the workers' memory, "full" if that is not known."""
        if self.storage is None:
            return "full"
        name = (coarsening, machine.workers, machine.threads, chunks)
        if name not in self._storages:
            cut = self.layout(coarsening, cycle, machine, chunks)
            self._storages[name] = self.storage(self.hierarchy(coarsening, cycle), cut.layout, machine, cut.apart)
        return self._storages[name]

    def phi_seconds(self, plan: Plan, chunks: int | None = None) -> float:
        """Return what Phi alone takes, one after another, on a plan's longest chunk; or with so many chunks."""
        return self._bound(plan.coarsening, plan.hierarchy.cycle, plan.machine, chunks or plan.chunks)[0]

    # -- answers ---------------------------------------------------------------------------------------------------

    def best(self, machine: Machine) -> Plan:
        """Return the best plan for a cluster or a part of it.

        Raises
        ------
        ValueError
            If nothing converges.
        """
        if machine not in self._best:
            self._best[machine] = self.candidates(machine)[0]
        return self._best[machine]

    def candidates(self, machine: Machine, within: float = 1.0) -> list[Plan]:
        """Return the plans for a cluster, or a part of it, up to `within` times as long as the best, the best first.

        Raises
        ------
        ValueError
            If nothing converges, or there are more chunks than threads.
        """
        for fits in (True, False):
            found: list[Plan] = []
            least = math.inf
            for plan in self._plans_of(machine, lambda: within * least, fits):  # noqa: B023
                found.append(plan)
                least = min(least, plan.seconds)
            if found:
                break
        else:
            raise self._too_many_chunks(machine)
        return sorted((plan for plan in found if plan.seconds <= within * least), key=lambda plan: plan.seconds)

    def _pays(self, machine: Machine, seconds: float, fits: bool) -> bool:
        return any(plan.seconds < seconds for plan in self._plans_of(machine, lambda: seconds, fits))

    def break_even(self, machine: Machine) -> int | None:
        """Return the least number of workers with which MGRIT beats serial training; None if none does.

        Workers have the threads and overheads of `machine`.
        """
        best = self.best(machine)
        fits, seconds = self.storage_of(*best.setting) is not None, best.serial
        # What more workers cannot be of use for.
        chunks = max(most_chunks(self.hierarchy(m, "V")) for m in self.coarsenings)
        most = max(chunks, math.ceil(2 * chunks / machine.threads))
        low, high = 0, 1
        while not self._pays(replace(machine, workers=high), seconds, fits):
            if high >= most:
                return None
            low, high = high, min(2 * high, most)
        while high - low > 1:
            middle = (low + high) // 2
            if self._pays(replace(machine, workers=middle), seconds, fits):
                high = middle
            else:
                low = middle
        return high

    def workers(self, machine: Machine, first: int, last: int) -> list[int]:
        """Return the numbers of workers in a range from which there is more to try than with fewer."""
        return sorted(
            {
                workers
                for m in self.coarsenings
                for chunks in self.numbers(m, last * machine.threads)
                for workers in worker_numbers(chunks, machine.threads, self.hierarchy(m, "V"))
                if first <= workers <= last
            }
        )

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
