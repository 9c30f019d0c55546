"""What a plan knows of a user's Phi: measured on the first steps within a time limit, and assumed beyond that."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dask
import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.mgrit import MGRIT
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.acceptance import USUAL, Acceptance, given, measured
from daskmgrit.planning.cost import PhiCost, measure_cost, measure_stages
from daskmgrit.planning.cycle_counts import extrapolated
from daskmgrit.planning.setting import COARSENINGS, Coarsening
from daskmgrit.planning.source import ASSUMED, MOST_LEVELS
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.recurrence.trial import needs_trial, try_phi
from daskmgrit.utils.per_level import spread
from daskmgrit.utils.units import time_in_words

__all__ = ["PhiSource"]

# Parts of the time that measuring may take: of Phi itself, of its coarse steps, of sweeps; cycles get what is left.
COST, STAGES, SWEEPS = 0.15, 0.1, 0.2
# About how often a small solve evaluates each of its steps, and what sweeps over the least prefix evaluate.
PER_STEP, PER_SWEEPS = 40, 500
# Steps of small solves, and the F-intervals that they need at least: with few, any Phi converges after some cycles.
SIZES, INTERVALS = (50, 100, 200, 400, 800), 8
# A setting gets this part of the time left at most.
PATIENCE = 2


class PhiSource:
    """A Phi, timed; cycles from small solves and accepted steps from sweeps over the first steps of the run.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N.
    cost : PhiCost, optional
        What Phi costs; measured by default.
    iterations : float, optional
        Cycles for every setting; measured by default.
    accepted : float, optional
        Steps that a sweep accepts; measured by default.
    coarsening : tuple of int, optional
        The only factors; by default those that `phi` was made for, else some are tried.
    cycles : sequence of str
        The cycles that are tried.
    initial_guess : str
        That of the small solves.
    seconds : float
        About how long measuring may take.
    note : callable
        Is told what is under way.

    Raises
    ------
    PropagatorError
        If `phi` breaks its contract.
    """

    # Whatever phi trains with, it does so by either method.
    optimizer: str | None = None
    # What the command adds to the options that it recommends.
    window_options: Sequence[str] = ()

    def __init__(
        self,
        phi: Phi,
        w0: Any,
        steps: int,
        cost: PhiCost | None,
        iterations: float | None,
        accepted: float | None,
        coarsening: Coarsening | None,
        cycles: Sequence[str],
        initial_guess: str,
        seconds: float,
        note: Callable[[str], Any],
    ) -> None:
        self.phi, self.steps, self._w0, self._guess, self._note = phi, steps, w0, initial_guess, note
        self._given, self._cycles, self._seconds = iterations, cycles, seconds
        self._ends = time.perf_counter() + seconds
        self._state = initial_state(w0)
        self.row_bytes = self.window_bytes = self._state.nbytes
        self.measured: list[str] = []
        self.remark = ""
        self.coarsenings = self._coarsenings(coarsening)
        # What a Phi costs here and now, which says how much can be tried.
        real = cost
        if cost is None or iterations is None or accepted is None:
            real = self._time_phi()
        assert real is not None
        if cost is None:
            self.measured.append(f"Phi, {time_in_words(real.call + real.state)} for a state")
            cost = replace(real, stages=self._stages(real))
        elif cost.stages == (1.0,):
            cost = replace(cost, stages=self._declared())
        self._cost, self.window_cost = cost, cost
        self.accepted: Acceptance = given(accepted) if accepted is not None else self._sweep(real)
        self.sizes: list[int] = []
        self._counts: dict[tuple[Coarsening, str], float] = {}
        if iterations is None:
            self._count_cycles(real)

    # -- Phi -------------------------------------------------------------------------------------------------------

    def _time_phi(self) -> PhiCost:
        """Time Phi on as many states as a part of the time allows, one at least."""
        self._note("timing Phi")
        if needs_trial(self.phi):
            finding = try_phi(self.phi, self._state.origin, self.steps)
            if finding.error:
                raise PropagatorError(finding.error)
            self.remark = finding.remark
        clock = time.perf_counter()
        alone = measure_cost(self.phi, self._w0, 0.0, sizes=(1,)).state
        spent = time.perf_counter() - clock
        left = COST * self._seconds - spent
        for sizes in ((1, 8, 64), (1, 8)):
            # Each size is timed three times, after a first call.
            if 4 * sum(sizes) * alone < left:
                return measure_cost(self.phi, self._w0, min(0.2, left / 6), sizes)
        return PhiCost(alone)

    def _levels(self) -> int:
        return min(MOST_LEVELS, max(len(build_hierarchy(self.steps, list(m))) for m in self.coarsenings))

    def _declared(self) -> tuple[float, ...]:
        return tuple(float(stages_of(self.phi, level)) for level in range(self._levels()))

    def _stages(self, real: PhiCost) -> tuple[float, ...]:
        """Return how many Phi a step of each level costs: measured if that is cheap, else as phi says."""
        levels = self._levels()
        if levels < 2 or 4 * levels * (real.call + 8 * real.state) > STAGES * self._seconds:
            return self._declared()
        return measure_stages(self.phi, self._w0, levels, STAGES * self._seconds / (8 * levels))

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return what Phi costs."""
        return self._cost

    # -- sweeps ----------------------------------------------------------------------------------------------------

    def _sweep(self, real: PhiCost) -> Acceptance:
        each, most = real.call + real.state, SWEEPS * self._seconds
        if PER_SWEEPS * each > most:
            origin = "assumed, as of networks with Adam at usual rates; give accepted=, or more seconds="
            return Acceptance(USUAL, origin)
        with np.errstate(all="ignore"):
            found = measured(self.phi, self._w0, self.steps, each, self._note, most)
        self.measured.append(f"sweeps of parallel Newton {found.origin.removeprefix('measured ')}")
        return found

    # -- cycles ----------------------------------------------------------------------------------------------------

    def _coarsenings(self, coarsening: Coarsening | None) -> list[Coarsening]:
        """Return what is tried, the most different first."""
        length = getattr(self.phi, "step_length", getattr(self.phi, "length", None))
        if coarsening is not None:
            return [coarsening]
        if isinstance(length, StepLength):
            assert isinstance(length.coarsening, tuple)
            return [length.coarsening if len(length.coarsening) > 1 else (length.coarsening[0],) * 2]
        return sorted((m for m in COARSENINGS if m[0] <= self.steps), key=lambda m: (m[1], m[0])) or [(2, 2)]

    def _count_cycles(self, real: PhiCost) -> None:
        """Solve for the first steps with one setting after another, while there is time."""
        settings = list(itertools.product(self.coarsenings, self._cycles))
        self.sizes = self._choose_sizes(real.state + real.call / 8, len(settings))
        for coarsening, cycle in settings:
            sizes = [n for n in self.sizes if n == self.steps or n >= INTERVALS * coarsening[0]]
            # A single size tells of more steps nothing.
            if not sizes or (sizes[-1] < self.steps and len(sizes) < 2):
                continue
            counts = [self._solve(n, coarsening, cycle) for n in sizes]
            known = [count for count in counts if count is not None]
            if len(known) == len(sizes):
                self._counts[coarsening, cycle] = extrapolated(known, sizes, self.steps)
        if self._counts:
            some = f"{len(self._counts)} of {len(settings)} settings" if len(settings) > 1 else "the setting"
            self.measured.append(f"cycles of MGRIT for {' and '.join(map(str, self.sizes))} steps, with {some}")

    def _choose_sizes(self, each: float, settings: int) -> list[int]:
        """Return the numbers of steps of small solves: N itself, or two; the largest for which there is time.

        `each` is the time of a state in a block. There has to be time for one setting, or else for all.
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

        self._note(f"solving N = {steps}, coarsening {coarsening}, {cycle}-cycles")
        with dask.config.set(scheduler="sync"), np.errstate(all="ignore"), _silence():
            solver = MGRIT(self.phi, steps, list(coarsening), cycle=cycle)
            result = solver.solve(self._w0, self._guess, chunks=1, callback=late)
        if result.reason == "callback":
            return None
        return float(result.iterations) if result.converged else math.nan

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan where it does not converge or was not tried while others were."""
        if self._given is not None:
            return self._given
        return self._counts.get((coarsening, cycle), math.nan) if self._counts else ASSUMED[cycle]

    @property
    def origin(self) -> str:
        """Where the numbers of cycles are from, in words."""
        if self._given is not None:
            return "as given"
        if not self._counts:
            return "assumed, as of stable coarse steps; give iterations=, or more seconds="
        if self.sizes == [self.steps]:
            return "measured"
        return f"measured at N = {' and '.join(map(str, self.sizes))}, with the growth between those beyond"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep this thread's solves from saying of phi, each of them, what the plan says once."""
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
    """Return the factors that a user means, as a plan has them: two at least, the last repeating."""
    factors = tuple(StepLength(coarsening if isinstance(coarsening, int) else tuple(coarsening)).coarsening)  # type: ignore[arg-type]
    return factors if len(factors) > 1 else tuple(spread(factors, 2))
