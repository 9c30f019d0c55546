"""A plan's knowledge of a Phi: measured on the first steps within a time limit, and assumed beyond that."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import dask
import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.mgrit import MGRIT
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.acceptance import ASSUMED_SWEEPS, LEAST, USUAL, Acceptance, given, growth_of_steps, measured
from daskmgrit.planning.cost import MOST_THREADS, PhiCost, measure_cost, measure_held, measure_stages
from daskmgrit.planning.cycle_counts import extrapolated
from daskmgrit.planning.setting import SPREAD, Coarsening
from daskmgrit.planning.source import ASSUMED
from daskmgrit.problems import OwnProblem
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.step_length import (
    StepLength,
    check_coarsening,
    length_of,
    made_for,
    takes_any_coarsening,
    words_for,
)
from daskmgrit.recurrence.trial import Finding, already_tried, needs_trial, try_phi
from daskmgrit.utils.per_level import spread
from daskmgrit.utils.units import time_in_words

__all__ = ["PhiSource", "fixed_coarsening", "tried_coarsenings"]

# Parts of the time that measuring may take: of Phi itself, of its coarse steps, of sweeps; cycles get what is left.
COST, STAGES, SWEEPS = 0.15, 0.1, 0.2
# Seconds of sweeps besides Phi that are worth telling.
LONG_SWEEPS = 1.0
# Seconds of a first call that are worth telling.
WARM_UP = 0.5
# And of calls on several threads.
HELD = 0.05
# About how often a small solve evaluates each of its steps, and what sweeps of the shortest window evaluate over the
# least prefix. Longer windows are tried while there is time.
PER_STEP, PER_SWEEPS = 40, 250
# Steps of small solves, and the F-intervals that they need at least: with few, any Phi converges after some cycles.
SIZES, INTERVALS = (50, 100, 200, 400, 800), 8
# Where N is more than this multiple of the steps that were solved for, cycles are no more than a guess.
FAR = 8
# Beyond those steps cycles may grow in proportion to N if training hardly contracts: the largest factor assumed.
FEARED = 5.0
# A setting gets this part of the time left at most.
PATIENCE = 2
# Beyond, levels are taken to be as the last of these.
MOST_LEVELS = 12
# Defaults of levels, which are not printed.
USUAL_LEVELS = {"relaxation": "FCF", "min_coarse": 10}


class PhiSource:
    """A Phi, timed; cycles from small solves and accepted steps from sweeps over the first steps of the run.

    Parameters
    ----------
    problem : OwnProblem
        Phi, initial state, N and the levels that suit it.
    cost : PhiCost, optional
        Cost of Phi; measured by default.
    iterations : float, optional
        Cycles for every setting; measured by default.
    accepted : float or dict of int to float, optional
        Steps that a sweep accepts, see :func:`daskmgrit.planning.acceptance.given`; measured by default.
    coarsenings : sequence of tuple of int
        The factors to try, the most informative first.
    cycles : sequence of str
        The cycles to try.
    seconds : float
        Approximate time limit of the measurements.
    note : callable
        Called with progress messages.
    phi_for : callable, optional
        ``phi_for(coarsening) -> Phi`` whose coarse steps are as long as these factors say. By default the problem's,
        by :func:`daskmgrit.recurrence.step_length.made_for`.
    window : OwnProblem, optional
        The problem for parallel Newton, if it is the same with another optimizer.
    tried : Finding, optional
        The finding of an earlier trial of Phi, if there was one.
    threads : int, default 1
        Threads of each process, which call Phi at once.

    Attributes
    ----------
    measured : list of str
        The measurements, in words.
    remark : str
        Defects of Phi that were found.

    Raises
    ------
    PropagatorError
        If Phi breaks its contract.
    ValueError
        If Phi was made for other coarsening factors.
    """

    def __init__(
        self,
        problem: OwnProblem,
        cost: PhiCost | None,
        iterations: float | None,
        accepted: float | Mapping[int, float] | None,
        coarsenings: Sequence[Coarsening],
        cycles: Sequence[str],
        seconds: float,
        note: Callable[[str], Any],
        *,
        phi_for: Callable[[Coarsening], Phi] | None = None,
        window: OwnProblem | None = None,
        tried: Finding | None = None,
        threads: int = 1,
    ) -> None:
        self.phi, self._w0, self.steps, self._guess = problem.phi, problem.w0, problem.steps, problem.initial_guess
        self._given, self._cycles, self._seconds, self._note = iterations, cycles, seconds, note
        self._ends = time.perf_counter() + seconds
        self._state = initial_state(self._w0)
        self.row_bytes: int = self._state.nbytes
        self.window_bytes: int = self.row_bytes
        levels = problem.hierarchy()
        del levels["coarsening"]
        self.levels: Mapping[str, Any] = {name: value for name, value in levels.items() if value != USUAL_LEVELS[name]}
        self.coarsenings: Sequence[Coarsening] = [m for m in coarsenings if m[0] <= self.steps]
        self._phi_for = phi_for or partial(made_for, self.phi)
        for m in self.coarsenings:
            check_coarsening(self._phi_for(m), m)
        self.measured: list[str] = []
        self.remark = "" if tried is None else tried.remark
        # The cost of a Phi here and now decides how much can be tried.
        real = cost
        if cost is None or iterations is None or accepted is None:
            real = self._time_phi(tried)
        assert real is not None
        if cost is None:
            self.measured.append(f"Phi, {time_in_words(real.call + real.state)} for a state")
            real = replace(real, held=self._held(problem, real, threads, 8))
        self._cost: PhiCost = real if cost is None else cost
        self._costs = {m: self._with_stages(m, real, cost) for m in self.coarsenings}
        # Phi of level 0 is what parallel Newton calls, whatever coarse steps are.
        self.window_cost: PhiCost = self._cost
        of_window = real
        if window is not None:
            self.window_bytes = initial_state(window.w0).nbytes
            of_window = measure_cost(window.phi, window.w0, COST * seconds / 12)
            self.window_cost = of_window if cost is None else cost
        if cost is None:
            held = self._held(window or problem, of_window, threads, 1)
            self.window_cost = replace(self.window_cost, held=held)
            if held:
                self.measured.append(f"calls on {threads} threads at once: for {held:.1%} of a call others wait")
        self.accepted: Acceptance = (
            given(accepted) if accepted is not None else self._sweep(window or problem, of_window)
        )
        self.remark = self.remark or self.accepted.defect
        self.sizes: list[int] = []
        self._counts: dict[tuple[Coarsening, str], float] = {}
        if iterations is None and not self.accepted.defect:
            self._count_cycles(real)

    # -- Phi -------------------------------------------------------------------------------------------------------

    def _time_phi(self, tried: Finding | None) -> PhiCost:
        """Time Phi on as many states as a part of the time allows, one at least."""
        self._note("timing Phi")
        if tried is None and needs_trial(self.phi):
            finding = try_phi(self.phi, self._state.origin, self.steps)
            if finding.error:
                raise PropagatorError(finding.error)
            self.remark = finding.remark
            tried = finding
        clock = time.perf_counter()
        alone = measure_cost(self.phi, self._w0, 0.0, sizes=(1,)).state
        spent = time.perf_counter() - clock
        if tried is not None and tried.first > max(WARM_UP, 5 * alone):
            words = "which is not counted: if it compiles, a solve's first calls do, too"
            self.measured.append(f"a first call of {time_in_words(tried.first)}, {words}")
        left = COST * self._seconds - spent
        for sizes in ((1, 8, 64), (1, 8)):
            # Each size is timed three times, after a first call.
            if 4 * sum(sizes) * alone < left:
                return measure_cost(self.phi, self._w0, min(0.2, left / 6), sizes)
        return PhiCost(alone)

    def _held(self, problem: OwnProblem, cost: PhiCost, threads: int, rows: int) -> float:
        """Return the part of a call with `rows` states in which other threads wait; 0 if there is no time for that."""
        part, each = HELD * self._seconds, cost.call + rows * cost.state
        if threads < 2 or 4 * min(threads, MOST_THREADS) * each > part:
            return 0.0
        return measure_held(problem.phi, problem.w0, threads, rows, min(0.2, part))

    def _with_stages(self, coarsening: Coarsening, real: PhiCost, cost: PhiCost | None) -> PhiCost:
        """Return a cost with the Phi per step of each level: given, measured if that is cheap, or declared.

        `real` is the cost of Phi here, `cost` the given one.
        """
        if cost is not None and cost.stages != (1.0,):
            return cost
        phi = self._phi_for(coarsening)
        levels = min(MOST_LEVELS, len(build_hierarchy(self.steps, list(coarsening), **self.levels)))
        part = STAGES * self._seconds / len(self.coarsenings)
        if cost is not None or levels < 2 or 4 * levels * (real.call + 8 * real.state) > part:
            return replace(cost or real, stages=tuple(float(stages_of(phi, level)) for level in range(levels)))
        return replace(real, stages=measure_stages(phi, self._w0, levels, min(0.02, part / (8 * levels))))

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return the cost of Phi with these coarsening factors."""
        return self._costs.get(coarsening, self._cost)

    def phi_in_words(self, coarsening: int | Sequence[int]) -> str:
        """Return the Phi for these factors, as Python."""
        return words_for(self.phi, coarsening)

    # -- sweeps ----------------------------------------------------------------------------------------------------

    def _sweep(self, problem: OwnProblem, real: PhiCost) -> Acceptance:
        each, most = real.call + real.state, SWEEPS * self._seconds
        if PER_SWEEPS * each > most:
            # A few steps still show nan in their data.
            few = max(1, min(LEAST, self.steps, int(most / (2 * each))))
            with np.errstate(all="ignore"):
                _, defect = growth_of_steps(problem.phi, problem.w0, few)
            return Acceptance(USUAL, f"{ASSUMED_SWEEPS}; give the number, or more time", defect=defect)
        with np.errstate(all="ignore"):
            found = measured(problem.phi, problem.w0, self.steps, real, self._note, most)
        if found.origin != ASSUMED_SWEEPS:
            self.measured.append(f"sweeps of parallel Newton {found.origin.removeprefix('measured ')}")
        if found.own > LONG_SWEEPS:
            words = "for example to compile for each number of states: that is not counted"
            self.measured.append(f"sweeps took {time_in_words(found.own)} besides Phi, {words}")
        return found

    # -- cycles ----------------------------------------------------------------------------------------------------

    def _count_cycles(self, real: PhiCost) -> None:
        """Solve for the first steps with one setting after another, while there is time."""
        settings = list(itertools.product(self.coarsenings, self._cycles))
        self.sizes = self._choose_sizes(real.state + real.call / 8, len(settings))
        if self.sizes:
            some, left = " and ".join(map(str, self.sizes)), max(0.0, self._ends - time.perf_counter())
            self._note(f"solving the first {some} steps by MGRIT, with up to {len(settings)} settings in {left:.0f} s")
        for coarsening, cycle in settings:
            sizes = [n for n in self.sizes if n == self.steps or n >= INTERVALS * coarsening[0]]
            # A single size tells of more steps nothing.
            if not sizes or (sizes[-1] < self.steps and len(sizes) < 2):
                continue
            counts = [self._solve(n, coarsening, cycle) for n in sizes]
            known = [count for count in counts if count is not None]
            if len(known) == len(sizes):
                most = build_hierarchy(self.steps, list(coarsening), **self.levels)[0].exact_after
                self._counts[coarsening, cycle] = min(extrapolated(known, sizes, self.steps), most)
        if self._counts:
            some = f"{len(self._counts)} of {len(settings)} settings" if len(settings) > 1 else "the setting"
            self.measured.append(f"cycles of MGRIT for {' and '.join(map(str, self.sizes))} steps, with {some}")

    def _choose_sizes(self, each: float, settings: int) -> list[int]:
        """Return the numbers of steps of small solves: N itself, or two; the largest for which there is time.

        `each` is the time of a state in a block. There must be time for one setting, or else for all.
        """
        tried = [n for n in SIZES if n < self.steps]
        choices = [list(pair) for pair in itertools.pairwise(tried)]
        if self.steps <= SIZES[-1]:
            choices.append([self.steps])
        left = self._ends - time.perf_counter()
        seconds = [PER_STEP * each * sum(sizes) for sizes in choices]
        fit = [sizes for sizes, spent in zip(choices, seconds, strict=True) if spent * settings <= left]
        if fit:
            return fit[-1]
        return choices[0] if choices and seconds[0] <= left / PATIENCE else []

    def _solve(self, steps: int, coarsening: Coarsening, cycle: str) -> float | None:
        """Return the cycles of a solve, nan if it does not converge, None if there was no time for it."""
        now = time.perf_counter()
        if now >= self._ends:
            return None
        ends = now + (self._ends - now) / PATIENCE

        def late(iteration: int, residual: float, weights: Any) -> bool:
            return time.perf_counter() > ends

        phi = self._phi_for(coarsening)
        with dask.config.set(scheduler="sync"), np.errstate(all="ignore"), _silence(), already_tried(phi, Finding()):
            solver = MGRIT(phi, steps, list(coarsening), cycle=cycle, **self.levels)
            result = solver.solve(self._w0, self._guess, chunks=1, callback=late)
        if result.reason == "callback":
            return None
        return float(result.iterations) if result.converged else math.nan

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan without convergence or if only other settings were tried."""
        if self._given is not None:
            return self._given
        if self.accepted.defect:
            return math.nan
        return self._counts.get((coarsening, cycle), math.nan) if self._counts else ASSUMED[cycle]

    @property
    def doubt(self) -> float:
        """Factor by which the cycles may be more, because they were counted on fewer steps, or not at all."""
        if self._given is not None:
            return 1.0
        return min(FEARED, self.steps / self.sizes[-1]) if self._counts else FEARED

    @property
    def origin(self) -> str:
        """Origin of the numbers of cycles, in words."""
        if self._given is not None:
            return "as given"
        if not self._counts:
            if self.accepted.growth:
                return (
                    "assumed, but MGRIT does not converge where serial training diverges; give the number, or more time"
                )
            # Moments that a coarse step takes at once are seldom what as many fine steps make of them.
            often = "; with an optimizer that has moments MGRIT often does not converge" if is_split(self.phi) else ""
            return f"assumed, as for stable coarse steps{often}; give the number, or more time"
        if self.sizes == [self.steps]:
            return "measured"
        origin = f"measured at N = {' and '.join(map(str, self.sizes))}, with the growth between those beyond"
        if (ratio := self.steps / self.sizes[-1]) > FAR:
            origin += f"; N is {ratio:.0f} times as long, so that is a guess: more time measures more steps"
        return origin


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the warnings of this thread's solves about phi, because the plan gives them once."""
    thread = threading.get_ident()

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("daskmgrit")
    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


def fixed_coarsening(coarsening: int | Sequence[int]) -> Coarsening:
    """Return a user's factors as a plan has them: at least two, the last repeating."""
    factors = tuple(StepLength(coarsening if isinstance(coarsening, int) else tuple(coarsening)).coarsening)  # type: ignore[arg-type]
    return factors if len(factors) > 1 else tuple(spread(factors, 2))


def tried_coarsenings(phi: Phi, own: int | Sequence[int] | None = None) -> list[Coarsening]:
    """Return the factors to try with a Phi, the most informative first.

    These are many if Phi supports any, and otherwise those that it was made for, if they are known; `own` are those
    that suit it, by default 2.
    """
    length = length_of(phi)
    usual = fixed_coarsening(own if own is not None else length.coarsening if length else 2)
    return list(dict.fromkeys([usual, *SPREAD])) if takes_any_coarsening(phi) else [usual]
