"""The solve that ``daskmgrit solve`` runs, by either method: solver, initial state, solve and resume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import click

from daskmgrit.checkpoint.place import find
from daskmgrit.checkpoint.policy import as_checkpoint
from daskmgrit.checkpoint.saver import Saved
from daskmgrit.checkpoint.window_saver import load_window
from daskmgrit.cli.ends import note
from daskmgrit.cli.options import refuse
from daskmgrit.cli.solve_options import OF_MGRIT, OF_NEWTON
from daskmgrit.graph.auto_chunks import check_chunks
from daskmgrit.mgrit import MGRIT
from daskmgrit.models.descent import GradientDescent
from daskmgrit.newton.sizes import Fixed
from daskmgrit.parallel_newton import ParallelNewton
from daskmgrit.problems import OwnProblem, Problem
from daskmgrit.problems.training import training
from daskmgrit.recurrence.step_length import StepLength, length_of
from daskmgrit.solver.result import Result

__all__ = ["Job", "make_job"]

How = Mapping[str, Any]
Found = Problem | OwnProblem


@dataclass(frozen=True)
class Job:
    """A problem with the solver for it.

    Attributes
    ----------
    problem : OwnProblem
        The problem, with its Phi.
    name : str or None
        Name of a built-in problem's solver, or of the optimizer.
    solver : MGRIT or ParallelNewton
        The solver.
    solve : callable
        ``solve(policy, how)``: from the initial state.
    resume : callable
        ``resume(policy, given, how)``: from a checkpoint; `given` are the options that were given.
    about : dict
        Further entries of the report on the solver.
    """

    problem: OwnProblem
    name: str | None
    solver: MGRIT | ParallelNewton
    solve: Callable[[Any, How], Result]
    resume: Callable[[Any, Collection[str], How], Result]
    about: dict[str, Any]


def make_job(found: Found, method: str, check: bool, options: Mapping[str, Any]) -> Job:
    """Return the solve that the options describe; refuse options that have no effect.

    Raises
    ------
    click.UsageError, ValueError, TypeError
        If an option is out of place or out of range.
    """
    if method == "newton":
        refuse(OF_MGRIT, "is for --method mgrit")
        return _newton_job(found, check, options)
    # Gradient descent is what MGRIT takes.
    allowed = {"rank"} | ({"optimizer"} if options["optimizer"] == "sgd" else set())
    refuse([name for name in OF_NEWTON if name not in allowed], "is for --method newton")
    if not _deflated(options):
        refuse(["rank"], "is for --method newton, and for --coarse deflated")
    return _mgrit_job(found, options)


def _deflated(options: Mapping[str, Any]) -> bool:
    coarse = options["coarse"] or ()
    return "deflated" in ((coarse,) if isinstance(coarse, str) else coarse)


def _mgrit_job(found: Found, options: Mapping[str, Any]) -> Job:
    levels = {option: options[option] for option in ("coarsening", "relaxation", "min_coarse")}
    problem = _training(found, "sgd", levels, options, **{"rank": options["rank"]} if _deflated(options) else {})
    if isinstance(found, OwnProblem) and problem.coarsening != found.coarsening and length_of(problem.phi) is None:
        factors = StepLength(problem.coarsening).coarsening
        assert isinstance(factors, tuple)
        note(
            f"--coarsening {','.join(map(str, factors))}: the Phi of {problem.name} does not tell the coarsening of "
            "its coarse steps; if it is another, the solve takes more cycles, or does not converge"
        )
    how_cycled = {option: options[option] for option in ("max_levels", "cycle", "weight")}
    solver = MGRIT(problem.phi, problem.steps, **how_cycled, **problem.hierarchy())
    # Errors come before the levels are shown and workers are started.
    check_chunks(options["chunks"], solver.hierarchy)

    phi = problem.phi

    def solve(policy: Any, how: How) -> Result:
        guess = options["initial_guess"]
        if guess is None:
            rough = phi.rough_guess(problem.steps) if isinstance(phi, GradientDescent) else None
            guess = problem.initial_guess if rough is None else rough
        more = {option: options[option] for option in ("maxiter", "chunks", "storage")}
        return solver.solve(problem.w0, guess, checkpoint=policy, **more, **how)

    def resume(policy: Any, given: Collection[str], how: How) -> Result:
        more = {option: options[option] for option in ("maxiter", "storage") if option in given}
        if "maxiter" not in more:
            place = as_checkpoint(policy)
            assert place is not None
            saved = Saved.load(find(place.directory))
            note(f"resuming from {saved.path}, with --maxiter {saved.solve['maxiter']} as before: it counts all cycles")
        return solver.resume(policy, problem.w0, chunks=options["chunks"], **more, **how)

    about = {
        "stages": solver.stages,
        "coarsening": [level.coarsening for level in solver.hierarchy.levels[:-1]],
    }
    return Job(problem, _name_of(found, "sgd", options), solver, solve, resume, about)


def _newton_job(found: Found, check: bool, options: Mapping[str, Any]) -> Job:
    optimizer = options["optimizer"] or "sgd"
    problem = _training(found, optimizer, {} if isinstance(found, OwnProblem) else {"coarsening": 2}, options)
    own: dict[str, Any] = {"window": problem.window, "jacobian": problem.jacobian, "rank": problem.rank}
    asked = {"window": options["slots"], "jacobian": options["jacobian"], "rank": options["rank"]}
    how_swept = own | {name: value for name, value in asked.items() if value is not None}
    solver = ParallelNewton(problem.phi, problem.steps, interval=options["interval"], **how_swept)

    def solve(policy: Any, how: How) -> Result:
        # To compare all steps, all of them have to be kept; a checkpoint has the window alone, a slot its last step.
        keep = "all" if check and policy is None and solver.interval == 1 else "final"
        return solver.solve(problem.w0, checkpoint=policy, keep=keep, **how)

    def resume(policy: Any, given: Collection[str], how: How) -> Result:
        if "slots" in given:
            _check_window(policy, options["slots"])
        # A window of the problem's own is not asked for: the solve keeps the one that it began with.
        kept = ParallelNewton(problem.phi, problem.steps, interval=solver.interval, **how_swept | {"window": "auto"})
        return kept.resume(policy, problem.w0, **how)

    about = {"jacobian": solver.jacobian, "window": solver.window}
    return Job(problem, _name_of(found, optimizer, options), solver, solve, resume, about)


def _training(
    found: Found, optimizer: str, levels: Mapping[str, Any], options: Mapping[str, Any], **more: Any
) -> OwnProblem:
    """Return the problem with the Phi that the options describe."""
    if optimizer != "sgd":
        why = f"is for gradient descent, not for --optimizer {optimizer}"
        refuse(("solver", "max_learning_rate", "coarse", "data", "max_stages", "window"), why)
    names = ("steps", "learning_rate", "batch", "dtype", "max_learning_rate", "coarse", "max_stages", "data", "window")
    descent = {name: options[name] for name in names} | more
    return training(found, optimizer, options["solver"], levels=levels, **descent)


def _name_of(found: Found, optimizer: str, options: Mapping[str, Any]) -> str | None:
    if isinstance(found, OwnProblem):
        return None
    return (options["solver"] or found.solver) if optimizer == "sgd" else optimizer


def _check_window(policy: Any, slots: int | str) -> None:
    """Check that the requested window is that of the checkpoint, which a resumed solve keeps."""
    place = as_checkpoint(policy)
    assert place is not None
    size = load_window(place.directory).size
    saved = size.first if isinstance(size, Fixed) else "auto"
    if slots != saved:
        raise click.UsageError(
            f"--slots {slots} with --resume: the checkpoint in {place.directory} was saved with --slots {saved}, which "
            "a resumed solve keeps; leave --slots out, or start a new solve in another directory"
        )
