"""The problem of a command: found by its name, tried before the work begins, explained if it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.shell_completion import CompletionItem

from daskmgrit.cli.ends import CannotRun
from daskmgrit.cli.options import refuse
from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError
from daskmgrit.problems import LOOPS, PROBLEMS, OwnProblem, Problem
from daskmgrit.problems.find import find_problem, known_names
from daskmgrit.problems.source_files import failed, place_of
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.trial import Finding, try_phi

__all__ = ["asked_problem", "completed", "explained", "method_of", "try_own"]


# Options that decide on the Phi of a built-in problem.
OF_BUILT_IN = (
    "solver",
    "optimizer",
    "learning_rate",
    "max_learning_rate",
    "coarse",
    "data",
    "max_stages",
    "window",
    "batch",
    "dtype",
)


def completed(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return a shell's completions of a problem's name: known names, else files."""
    names = [CompletionItem(name) for name in known_names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def asked_problem(
    target: str, w0: str | None, steps: int | None, seed: int = 1, argument: str = "PROBLEM"
) -> Problem | OwnProblem:
    """Return the problem of a command; see :func:`daskmgrit.problems.find.find_problem`."""
    found = find_problem(target, w0=w0, steps=steps, seed=seed, argument=argument)
    if target not in (*PROBLEMS, *LOOPS):
        refuse(["seed"], f"is for built-in problems: {target} has an initial state of its own")
    if target in LOOPS:
        refuse(OF_BUILT_IN, f"has no effect on {target}, a training loop with its own settings")
    elif isinstance(found, OwnProblem):
        refuse(
            ["window"], "is for built-in problems, whose coarse steps take mean gradients; parallel Newton has --slots"
        )
        refuse(OF_BUILT_IN, f"is for built-in problems: the Phi of {target} decides that itself")
    return found


def method_of(found: Problem | OwnProblem, given: str | None) -> str:
    """Return the given method, else that of the problem."""
    return given or (found.method if isinstance(found, OwnProblem) else "mgrit")


def try_own(problem: OwnProblem, name: str, *, elsewhere: bool = False, parts: bool = False) -> Finding | None:
    """Call a Phi a few times before any worker starts; return the finding, None if it could not be tried.

    Parameters
    ----------
    problem : OwnProblem
        The problem.
    name : str
        Its name on the command line.
    elsewhere : bool, default False
        Whether workers are on other machines: their Phi may not run here.
    parts : bool, default False
        Whether gradient and update are called separately, as by parallel Newton.

    Raises
    ------
    click.UsageError
        If Phi does not take its initial state.
    PropagatorError
        If Phi is for one state at a time.
    """
    state = initial_state(problem.w0)
    try:
        found = try_phi(problem.phi, state.origin, problem.steps, parts)
    except (Exception, SystemExit) as error:
        about_states = isinstance(error, ValueError | TypeError | IndexError)
        if elsewhere and not about_states:
            return None
        remedy = ": give its own initial state by --w0" if about_states else ""
        # The trial's words on w0 are for Python.
        cause = error.__cause__ if isinstance(error, PropagatorError) and error.__cause__ is not None else error
        words = (
            f"{failed(f'the Phi of {name}', cause)}, called on states of {state.size} weights ({state.dtype}){remedy}"
        )
        raise click.UsageError(words) from error
    if found.error:
        raise PropagatorError(found.error)
    return found


def explained(found: Problem | OwnProblem | None, name: str) -> contextlib.AbstractContextManager[None]:
    """Return a context in which an error of the user's own Phi ends the command in a line that names its place."""
    return _explained(name) if isinstance(found, OwnProblem) else contextlib.nullcontext()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, ClusterError, PropagatorError, ImportError, MemoryError, click.ClickException):
        raise
    except SystemExit as error:
        # A subclass is a signal's.
        if type(error) is not SystemExit:
            raise
        place = place_of(error)
        raise CannotRun(
            f"the Phi of {name} called sys.exit({error.code!r}){f' ({place})' if place else ''}: return the new "
            "weights, or raise an error"
        ) from error
    except Exception as error:
        if isinstance(error, ValueError | TypeError) and not place_of(error):
            raise
        notes = getattr(error, "__notes__", [])
        raise CannotRun("; ".join([str(failed(f"the Phi of {name}", error)), *notes])) from error
