"""The best coarsening, cycle, chunks and number of workers within a cluster, and MGRIT's break-even number of workers.

The search for P workers includes all searches for fewer: each way to solve has a least number of workers, and numbers
of chunks do not follow from P. So the best for P is never worse than the best for fewer.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from daskmgrit.graph.auto_chunks import ChunkPlan, plan_layout
from daskmgrit.graph.chunking import most_chunks
from daskmgrit.multigrid.hierarchy import Hierarchy, build_hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.level_work import LevelWork, level_work
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.predict import prediction_of
from daskmgrit.planning.setting import (
    COARSENINGS,
    Coarsening,
    Plan,
    Setting,
    chunk_numbers,
    fits_threads,
    whole_cycles,
    worker_numbers,
)
from daskmgrit.planning.waves import Waves, visits_of

__all__ = ["Planner"]


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
        ``iterations(coarsening, cycle) -> float`` cycles to convergence, nan without convergence.
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
        ``storage(hierarchy, plan, machine) -> str | None``, with a :class:`ChunkPlan`: the storage with which a
        setting fits into the workers' memory. If none fits, all count.
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
    storage: Callable[[Hierarchy, ChunkPlan, Machine], str | None] | None = None

    def __post_init__(self) -> None:
        self._inline: dict[int, dict[object, float]] = {}
        self._hierarchies: dict[tuple[Coarsening, str], Hierarchy] = {}
        self._plans: dict[Setting, Plan] = {}
        self._bounds: dict[Setting, tuple[float, float]] = {}
        self._cuts: dict[object, ChunkPlan] = {}
        self._work: dict[object, list[LevelWork]] = {}
        self._storages: dict[object, str | None] = {}
        self._chunks: dict[Coarsening, list[int]] = {}
        self._best: dict[Machine, Plan] = {}
        self._least: dict[Setting, float] = {}
        self.coarsenings = [m for m in self.coarsenings if m[0] <= self.steps]
        if not self.coarsenings:
            raise ValueError(f"steps={self.steps} is below every coarsening factor: there is nothing to coarsen")
        if self.chunks is not None:
            most = max(most_chunks(self.hierarchy(m, "V")) for m in self.coarsenings)
            if self.chunks > most:
                raise ValueError(f"chunks={self.chunks} is more than one chunk per F-interval: give at most {most}")
            self.coarsenings = [m for m in self.coarsenings if most_chunks(self.hierarchy(m, "V")) >= self.chunks]

    def hierarchy(self, coarsening: Coarsening, cycle: str) -> Hierarchy:
        """Return the levels."""
        name = (coarsening, cycle)
        if name not in self._hierarchies:
            self._hierarchies[name] = build_hierarchy(
                self.steps, list(coarsening), None, self.min_coarse, cycle, self.relaxation
            )
        return self._hierarchies[name]

    @property
    def converges(self) -> bool:
        """Whether any of the settings converges."""
        return any(math.isfinite(self.iterations(m, cycle)) for m in self.coarsenings for cycle in self.cycles)

    def plan(self, setting: Setting) -> Plan:
        """Predict one way to solve."""
        if setting not in self._plans:
            waves, iterations = self._waves(setting), self.iterations(setting.coarsening, setting.cycle)
            serial = self.cost(setting.coarsening).serial(self.steps)
            self._plans[setting] = Plan(setting, waves.hierarchy, waves.plan, iterations, prediction_of(waves), serial)
        return self._plans[setting]

    def _waves(self, setting: Setting) -> Waves:
        coarsening, cycle, machine, chunks = setting
        at_once = min(machine.threads, math.ceil(chunks / machine.workers))
        cost = self.cost(coarsening).at_once(at_once)
        hierarchy, cut = self.hierarchy(coarsening, cycle), self.chunk_plan(setting)
        name = _cut_name(setting)
        if name not in self._work:
            self._work[name] = level_work(hierarchy, cut.layout, cost)
        inline = self._inline.setdefault(at_once, {})
        return Waves(hierarchy, cut, machine, cost, self._work[name], self.row_bytes, inline)

    def chunk_plan(self, setting: Setting) -> ChunkPlan:
        """Return the chunks of the solve, and the stages with tasks of their own."""
        name = _cut_name(setting)
        if name not in self._cuts:
            coarsening, cycle, machine, chunks = setting
            cost = self.cost(coarsening)
            self._cuts[name] = plan_layout(
                self.hierarchy(coarsening, cycle),
                chunks,
                [machine.threads] * machine.workers,
                "distributed",
                cost.call + cost.state,
                self.row_bytes,
                hosts=machine.hosts,
            )
        return self._cuts[name]

    # -- what is tried ---------------------------------------------------------------------------------------------

    def _settings(self, machine: Machine) -> list[tuple[float, Setting]]:
        """Return all ways to solve on these workers or fewer, with a time that each cannot beat.

        The likely ones come first, so that most of the others can be skipped.
        """
        part = functools.cache(lambda workers: replace(machine, workers=workers))
        settings = []
        for m in self.coarsenings:
            numbers = [
                (chunks, workers)
                for chunks in self.numbers(m, machine.slots)
                for workers in worker_numbers(chunks, machine.threads, self.hierarchy(m, "V"))
                if workers <= machine.workers
            ]
            for cycle in self.cycles:
                if math.isfinite(self.iterations(m, cycle)):
                    settings += [Setting(m, cycle, part(workers), chunks) for chunks, workers in numbers]
        if not settings:
            if self.converges:
                raise self._too_many_chunks(machine)
            raise ValueError("none of these coarsening factors and cycles converges: give iterations, or other steps")
        settings.sort(key=lambda setting: sum(self._bound(setting)))
        return [(max(self._bound(setting)), setting) for setting in settings]

    def _too_many_chunks(self, machine: Machine) -> ValueError:
        """Return the error for a last C-point that is not alone and has no thread."""
        return ValueError(f"chunks={self.chunks} is more than one chunk per thread: give at most {machine.slots}")

    def numbers(self, coarsening: Coarsening, slots: int) -> list[int]:
        """Return the numbers of chunks to try, one per thread at most and one for the last C-point."""
        if self.chunks is not None and self.chunks <= slots + 1:
            return [self.chunks]
        if coarsening not in self._chunks:
            self._chunks[coarsening] = chunk_numbers(self.hierarchy(coarsening, "V"))
        numbers = self._chunks[coarsening]
        return numbers[: bisect.bisect_right(numbers, slots + 1)]

    def _bound(self, setting: Setting) -> tuple[float, float]:
        """Return times that a setting cannot beat: Phi of its longest chunk, and the scheduler's for level 0.

        They need no layout.
        """
        if setting not in self._bounds:
            coarsening, cycle, machine, chunks = setting
            hierarchy, cost = self.hierarchy(coarsening, cycle), self.cost(coarsening)
            spent = 0.0
            for number, level in enumerate(hierarchy.levels[:-1]):
                each = visits_of(cycle, number) * (1 + level.nu) * cost.of_level(number)
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
            cycles = self._cycles(setting)
            self._bounds[setting] = cycles * spent, cycles * tasks * machine.scheduler
        return self._bounds[setting]

    def _cycles(self, setting: Setting) -> int:
        return whole_cycles(self.iterations(setting.coarsening, setting.cycle))

    def _least_seconds(self, setting: Setting) -> float:
        """Return a time that a setting cannot beat, from its layout."""
        if setting not in self._least:
            self._least[setting] = self._cycles(setting) * self._waves(setting).least()
        return self._least[setting]

    def _plans_of(self, machine: Machine, most: Callable[[], float], fits: bool) -> Iterator[Plan]:
        """Predict one setting after another that may take less than `most` seconds."""
        for bound, setting in self._settings(machine):
            if bound >= most():
                continue
            part, cut = setting.machine, self.chunk_plan(setting)
            # With threads to spare Phi_c(v) may have tasks of its own; if not, nothing differs.
            if part.threads == 1 and part.workers > setting.chunks and not cut.beside:
                continue
            if not fits_threads(self.hierarchy(setting.coarsening, setting.cycle), cut.layout, part.slots):
                continue
            if fits and not self.storage_of(setting):
                continue
            if self._least_seconds(setting) >= most():
                continue
            yield self.plan(setting)

    def storage_of(self, setting: Setting) -> str | None:
        """Return the storage with which a setting fits into the workers' memory, "full" if that is not known."""
        if self.storage is None:
            return "full"
        name = _cut_name(setting)
        if name not in self._storages:
            hierarchy, cut = self.hierarchy(setting.coarsening, setting.cycle), self.chunk_plan(setting)
            self._storages[name] = self.storage(hierarchy, cut, setting.machine)
        return self._storages[name]

    def phi_seconds(self, setting: Setting) -> float:
        """Return the time of Phi alone, one after another, on a setting's longest chunk."""
        return self._bound(setting)[0]

    # -- answers ---------------------------------------------------------------------------------------------------

    def best(self, machine: Machine) -> Plan:
        """Return the best plan for a cluster or a part of it.

        Raises
        ------
        ValueError
            If nothing converges, or there are more chunks than threads.
        """
        if machine not in self._best:
            self._best[machine] = self._search(machine)
        return self._best[machine]

    def _search(self, machine: Machine) -> Plan:
        for fits in (True, False):
            best: Plan | None = None
            for plan in self._plans_of(machine, lambda: best.seconds if best else math.inf, fits):  # noqa: B023
                if best is None or plan.seconds < best.seconds:
                    best = plan
            if best is not None:
                return best
        raise self._too_many_chunks(machine)

    def _pays(self, machine: Machine, seconds: float, fits: bool) -> bool:
        return any(plan.seconds < seconds for plan in self._plans_of(machine, lambda: seconds, fits))

    def break_even(self, machine: Machine) -> int | None:
        """Return the least number of workers with which MGRIT beats serial training; None if none does.

        Workers have the threads and overheads of `machine`.
        """
        best = self.best(machine)
        fits, seconds = self.storage_of(best.setting) is not None, best.serial
        # Beyond these numbers more workers are of no use.
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

    def gains_beyond(self, machine: Machine) -> bool:
        """Whether four times the workers of a cluster save more than a fifth of its time."""
        best = self.best(machine)
        fits = self.storage_of(best.setting) is not None
        return self._pays(replace(machine, workers=4 * machine.workers), 0.8 * best.seconds, fits)

    def limit(self, machine: Machine) -> int | None:
        """Return the number of worker threads from which four times as many save less than a fifth.

        None if that is beyond the threads of `machine`.
        """
        workers = 1
        while workers < machine.workers:
            if not self.gains_beyond(replace(machine, workers=workers)):
                return workers * machine.threads
            workers *= 4
        return None


def _cut_name(setting: Setting) -> tuple[object, ...]:
    """Return the key of a setting's chunks, which are the same for all cycles and overheads."""
    machine = setting.machine
    return setting.coarsening, machine.workers, machine.threads, machine.cores, setting.chunks
