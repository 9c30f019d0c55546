"""What a plan knows of Phi, cycles and sweeps: as it was given, or measured on a problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import click
import dask

from daskmgrit.mgrit import MGRIT
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning.acceptance import Acceptance, assumed, given, measured, measured_edge
from daskmgrit.planning.cost import PhiCost, measure_cost, measure_stages
from daskmgrit.planning.cycle_counts import extrapolated
from daskmgrit.planning.setting import COARSENINGS, Coarsening
from daskmgrit.problems import OwnProblem, Problem
from daskmgrit.problems.training import training
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.step_length import check_coarsening, takes_coarsening

__all__ = ["GivenSource", "MeasuredSource", "Source"]

# What stabilised coarse steps were seen to need, for any number of steps.
ASSUMED = {"V": 10.0, "F": 7.0}
# Beyond, levels are taken to be as the last of these.
MOST_LEVELS = 12


class GivenSource:
    """Phi, cycles and sweeps as the options say."""

    row_bytes = 0
    coarsenings: Sequence[Coarsening] = COARSENINGS
    levels: Mapping[str, Any] = MappingProxyType({})
    options: Sequence[str] = ()
    window_options: Sequence[str] = ()
    # Another optimizer than gradient descent, which parallel Newton alone is planned for.
    optimizer: str | None = None

    def __init__(self, cost: PhiCost, iterations: float | None, accepted: float | None = None) -> None:
        self._cost, self._iterations = cost, iterations
        self.accepted: Acceptance = given(accepted) if accepted is not None else assumed()
        self.window_cost, self.window_bytes = cost, 0

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return what Phi costs with these coarsening factors."""
        return self._cost

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan where it does not converge."""
        return self._iterations or ASSUMED[cycle]

    @property
    def origin(self) -> str:
        """Where the numbers of cycles are from, in words."""
        if self._iterations:
            return "as given, for every setting"
        return (
            f"assumed: {ASSUMED['V']:.0f} V-cycles or {ASSUMED['F']:.0f} F-cycles for any N, which holds for coarse "
            "steps that are stable; give --iterations"
        )


class MeasuredSource:
    """A problem's Phi, timed; cycles from two small solves, extrapolated with the growth between those; sweeps.

    Parameters
    ----------
    task : Problem or OwnProblem
        The problem.
    solver : str or None
        Solver of a built-in problem.
    steps : int
        N.
    iterations, accepted : float, optional
        Cycles, and steps that a sweep accepts, if they are not to be measured.
    optimizer : str, optional
        Optimizer of a built-in problem, for parallel Newton.
    options : sequence of str
        What of the command that solves says which problem it is.
    """

    def __init__(
        self,
        task: Problem | OwnProblem,
        solver: str | None,
        steps: int,
        iterations: float | None,
        optimizer: str | None = None,
        accepted: float | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.task, self.steps, self.given = task, steps, iterations
        self.optimizer = None if optimizer == "sgd" else optimizer
        if isinstance(task, OwnProblem):
            self.solver, self.options, words = None, tuple(options), ""
            levels = task.hierarchy()
            m = levels["coarsening"]
            levels["coarsening"] = (m, m) if isinstance(m, int) else m
        else:
            self.solver = solver or task.solver
            self.options, words = (*options, "--solver", self.solver), f", solver {self.solver}"
            levels = task.hierarchy(self.solver)
        # Relaxation and coarsest level that suit the problem, and its coarsening as one more to try.
        own = levels.pop("coarsening", None)
        self.levels = levels
        self.coarsenings = list(dict.fromkeys([*COARSENINGS, *([tuple(own)] if own else [])]))
        if isinstance(task, OwnProblem):
            # It may have been made for certain factors.
            check_coarsening(task.phi, tuple(own or ()))
            self.coarsenings = [m for m in self.coarsenings if takes_coarsening(task.phi, m)]
        self._first = self._problem(self.coarsenings[0])
        self.row_bytes = initial_state(self._first.w0).nbytes
        click.echo(f"timing Phi of {task.name}{words}", err=True)
        self._costs: dict[Coarsening, PhiCost] = {}
        self._iterations: dict[tuple[Coarsening, str], float] = {}
        self._timed = measure_cost(self._first.phi, self._first.w0)
        # Solves of some tenths of a second each.
        most = int(0.2 / (self._timed.state + self._timed.call / 64))
        self.sizes = [n for n in (100, 200, 400, 800) if n <= min(steps, max(most, 100))][-2:] or [steps]
        self._plan_windows(accepted, options)

    def _plan_windows(self, accepted: float | None, options: Sequence[str]) -> None:
        """Learn what parallel Newton needs to know; it may train with another optimizer than gradient descent."""
        problem, self.window_cost, self.window_options = self._first, self._timed, self.options
        if self.optimizer is not None:
            problem = training(self.task, self.optimizer)
            self.window_options = (*options, "--optimizer", self.optimizer)
            self.window_cost = measure_cost(problem.phi, problem.w0)
        phi, w0 = problem.phi, problem.w0
        self.window_bytes = initial_state(w0).nbytes
        step = self.window_cost.call + self.window_cost.state
        self.accepted: Acceptance = (
            given(accepted, measured_edge(phi, w0, self.steps))
            if accepted is not None
            else measured(phi, w0, self.steps, step, lambda text: click.echo(text, err=True))
        )

    def _problem(self, coarsening: Coarsening) -> OwnProblem:
        return training(self.task, solver=self.solver, levels={"coarsening": list(coarsening)})

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return what Phi costs with these coarsening factors."""
        if coarsening not in self._costs:
            levels = len(build_hierarchy(self.steps, list(coarsening), **self.levels))
            stages = measure_stages(self._problem(coarsening).phi, self._first.w0, min(levels, MOST_LEVELS))
            self._costs[coarsening] = replace(self._timed, stages=stages)
        return self._costs[coarsening]

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan where it does not converge."""
        if self.given:
            return self.given
        name = (coarsening, cycle)
        if name not in self._iterations:
            sizes = [n for n in self.sizes if n >= coarsening[0]]
            counts = [self._solve(n, coarsening, cycle) for n in sizes]
            self._iterations[name] = extrapolated(counts, sizes, self.steps)
        return self._iterations[name]

    def _solve(self, steps: int, coarsening: Coarsening, cycle: str) -> float:
        click.echo(f"solving N = {steps}, coarsening {coarsening}, {cycle}-cycles", err=True)
        with dask.config.set(scheduler="sync"):
            problem = self._problem(coarsening)
            solver = MGRIT(problem.phi, steps, list(coarsening), cycle=cycle, **self.levels)
            result = solver.solve(problem.w0, problem.initial_guess, chunks=1)
        return float(result.iterations) if result.converged else math.nan

    @property
    def origin(self) -> str:
        """Where the numbers of cycles are from, in words."""
        if self.given:
            return "as given, for every setting"
        sizes = " and ".join(map(str, self.sizes))
        return f"measured at N = {sizes}, with the growth between those beyond"


Source = GivenSource | MeasuredSource
