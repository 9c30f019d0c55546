"""What ``daskmgrit solve`` is to do, by either method: solver, initial state, how to solve and to resume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from daskmgrit.graph.auto_chunks import check_chunks
from daskmgrit.mgrit import MGRIT
from daskmgrit.parallel_newton import ParallelNewton
from daskmgrit.problems import Problem
from daskmgrit.solver.options import Arguments, WindowArguments
from daskmgrit.solver.result import Result

__all__ = ["Job", "mgrit_job", "newton_job"]

How = Mapping[str, Any]

# Options that parallel Newton has no use for.
OF_MGRIT = (
    "cycle",
    "max_levels",
    "min_coarse",
    "coarsening",
    "relaxation",
    "weight",
    "initial_guess",
    "maxiter",
    "chunks",
    "storage",
)


@dataclass(frozen=True)
class Job:
    """A problem with the solver for it.

    Attributes
    ----------
    task : Problem
        The problem.
    name : str
        Name of the solver: how the problem takes its steps.
    solver : MGRIT or ParallelNewton
        The solver.
    w0 : ndarray, shape (s,)
        The initial state, with an optimizer's moments if there are any.
    solve : callable
        ``solve(policy, how)``: from the initial state.
    resume : callable
        ``resume(policy, given, how)``: from a checkpoint; `given` are the options that were given.
    about : dict
        What is to be told of the solver.
    """

    task: Problem
    name: str
    solver: MGRIT | ParallelNewton
    w0: np.ndarray
    solve: Callable[[Any, How], Result]
    resume: Callable[[Any, Collection[str], How], Result]
    about: dict[str, Any]

    def metrics(self, final: np.ndarray) -> dict[str, float]:
        """Return the problem's metrics of a final state."""
        return self.task.metrics(final[: self.task.w0.size])


def mgrit_job(task: Problem, name: str | None, check: bool, options: Mapping[str, Any]) -> Job:
    """Return the solve by MGRIT that the options mean."""
    for option, default in (("optimizer", "sgd"), ("slots", "auto"), ("jacobian", "auto"), ("interval", 1)):
        if options[option] != default:
            raise click.UsageError(f"--{option} {options[option]} is for --method newton")
    name = name or task.solver
    hierarchy = task.hierarchy(
        name, **{option: options[option] for option in ("coarsening", "relaxation", "min_coarse", "max_levels")}
    )
    phi = _descent(task, name, hierarchy.get("coarsening", 2), options)
    solver = MGRIT(phi, _steps(task, options), cycle=options["cycle"], weight=options["weight"], **hierarchy)
    # What is wrong is to be said before the levels are shown and workers are started.
    check_chunks(options["chunks"], solver.hierarchy)
    asked = {option: options[option] for option in ("tol", "maxiter", "chunks", "storage")}
    unasked: dict[str, Any] = dict.fromkeys(("client", "callback", "checkpoint", "timeout", "settled"))
    Arguments(**asked, **unasked, progress=False).complete(0.0, 0, "full")

    def solve(policy: Any, how: How) -> Result:
        guess = options["initial_guess"] or task.guess(name)
        more = {option: options[option] for option in ("maxiter", "chunks", "storage")}
        return solver.solve(task.w0, guess, checkpoint=policy, **more, **how)

    def resume(policy: Any, given: Collection[str], how: How) -> Result:
        more = {option: options[option] for option in ("maxiter", "storage") if option in given}
        return solver.resume(policy, task.w0, chunks=options["chunks"], **more, **how)

    about = {
        "stages": solver.stages,
        "coarsening": [level.coarsening for level in solver.hierarchy.levels[:-1]],
    }
    return Job(task, name, solver, task.w0, solve, resume, about)


def newton_job(task: Problem, name: str | None, check: bool, options: Mapping[str, Any]) -> Job:
    """Return the solve by parallel Newton that the options mean."""
    source = click.get_current_context().get_parameter_source
    for option in OF_MGRIT:
        if source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{option.replace('_', '-')} is for --method mgrit")
    name = name or task.solver
    w0 = task.w0
    if options["optimizer"] == "sgd":
        phi = _descent(task, name, 2, options)
    else:
        phi = task.optimizer(
            options["optimizer"], options["learning_rate"], batch=options["batch"], dtype=options["dtype"]
        )
        name, w0 = options["optimizer"], phi.w0
    WindowArguments(options["tol"], None, None, None, False, None, None, "final").complete(0.0)
    how_swept = [options[option] for option in ("slots", "jacobian", "rank", "interval")]
    solver = ParallelNewton(phi, _steps(task, options), *how_swept)

    def solve(policy: Any, how: How) -> Result:
        # To compare all steps, all of them have to be kept; a checkpoint has the window alone, a slot its last step.
        keep = "all" if check and policy is None and solver.interval == 1 else "final"
        return solver.solve(w0, checkpoint=policy, keep=keep, **how)

    def resume(policy: Any, given: Collection[str], how: How) -> Result:
        return solver.resume(policy, w0, **how)

    return Job(task, name, solver, w0, solve, resume, {"jacobian": solver.jacobian, "window": solver.window})


def _steps(task: Problem, options: Mapping[str, Any]) -> int:
    return task.steps if options["steps"] is None else options["steps"]


def _descent(task: Problem, name: str, coarsening: Any, options: Mapping[str, Any]) -> Any:
    return task.propagator(
        name,
        options["learning_rate"],
        options["max_learning_rate"],
        coarsening=coarsening,
        dtype=options["dtype"],
        **{option: options[option] for option in ("batch", "coarse", "max_stages", "data", "window")},
    )
