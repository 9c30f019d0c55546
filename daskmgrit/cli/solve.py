"""The command ``daskmgrit solve``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from daskmgrit.checkpoint import Checkpoint
from daskmgrit.checkpoint.policy import as_checkpoint
from daskmgrit.checkpoint.window_saver import USUAL_SECONDS
from daskmgrit.cli.connection import command_client
from daskmgrit.cli.ends import CannotRun, note
from daskmgrit.cli.jobs import Job, make_job
from daskmgrit.cli.options import PROBLEM_HELP, Grouped, asked_problem, given
from daskmgrit.cli.plot_file import check_plot, save_plot
from daskmgrit.cli.report import compare, tell
from daskmgrit.cli.slurm import slurm_client
from daskmgrit.cli.solve_options import GROUPS
from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError
from daskmgrit.problems import OwnProblem
from daskmgrit.problems.source_files import failed, place_of
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.trial import try_phi
from daskmgrit.solver.result import Result

__all__ = ["solve"]

HELP = f"""Train PROBLEM in parallel over the training steps, by MGRIT or by parallel Newton.

    {PROBLEM_HELP}

    Exit status: 0 converged, 1 not converged or diverged, 2 bad usage, 3 the solve could not run, 130 interrupted.
    """


@click.command(cls=Grouped, groups=GROUPS, help=HELP)
@click.argument("problem")
def solve(
    problem: str,
    w0: str | None,
    method: str | None,
    scheduler: str | None,
    keys: str | None,
    workers: int | None,
    slurm: bool,
    timeout: float | None,
    checkpoint: Path | None,
    checkpoint_every: int | None,
    checkpoint_minutes: float | None,
    resume: bool,
    check: bool,
    as_json: bool,
    plot: Path | None,
    **options: Any,
) -> None:
    """Solve a problem; the help is above."""
    if scheduler and (workers or slurm):
        other = "--slurm" if slurm else "--workers"
        raise click.UsageError(f"--scheduler and {other} exclude each other: connect to a cluster, or start one")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not checkpoint and (resume or checkpoint_every or checkpoint_minutes is not None):
        raise click.UsageError("--resume, --checkpoint-every and --checkpoint-minutes need --checkpoint DIR")
    if plot:
        check_plot(plot)
    # What the user's own code prints is not the command's answer.
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), _usage_errors():
        found = asked_problem(problem, w0, options["steps"], options["seed"])
        own = isinstance(found, OwnProblem)
        method = method or (found.method if isinstance(found, OwnProblem) else "mgrit")
        job = make_job(found, method, check, options)
        if own:
            _try(job, problem, elsewhere=bool(scheduler or slurm))
        policy = _policy(checkpoint, checkpoint_every, checkpoint_minutes, method)
        with (
            slurm_client(workers, timeout) if slurm else command_client(scheduler, workers, keys, timeout) as client,
            _failures(problem) if own else nullcontext(),
        ):
            note(job.solver)
            how = {"tol": options["tol"], "client": client, "progress": True, "timeout": timeout}
            result = _solve(job, policy, resume, how)
            checked = compare(job, result) if check else {}
    if plot:
        save_plot(result, plot)
    tell(job, result, checked, as_json=as_json)
    sys.exit(0 if result.converged else 1)


def _solve(job: Job, policy: Checkpoint | Path | None, resume: bool, how: dict[str, Any]) -> Result:
    if resume and (asked := as_checkpoint(policy)) and asked.latest():
        return job.resume(policy, given(), how)
    if resume:
        directory = policy.path if isinstance(policy, Checkpoint) else policy
        note(f"no checkpoint in {directory} yet: beginning from the initial guess")
    return job.solve(policy, how)


def _policy(directory: Path | None, every: int | None, minutes: float | None, method: str) -> Checkpoint | Path | None:
    """Return what says where and how often to save; a directory alone leaves the latter to the solve."""
    if directory is None or (every is None and minutes is None):
        return directory
    usual: dict[str, Any] = {"every": None, "seconds": USUAL_SECONDS} if method == "newton" else {}
    asked: dict[str, Any] = {"every": every, "seconds": None if minutes is None else 60 * minutes}
    return Checkpoint(directory, **usual | {name: value for name, value in asked.items() if value is not None})


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Have values that the solver refuses end the command as bad usage."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if isinstance(error, PropagatorError):
            raise
        raise click.UsageError(str(error)) from error


def _try(job: Job, name: str, *, elsewhere: bool) -> None:
    """Call a Phi of the user's own, before any worker is started; a Phi for workers elsewhere may not run here."""
    problem = job.problem
    try:
        found = try_phi(problem.phi, initial_state(problem.w0).origin, problem.steps)
    except Exception as error:
        if elsewhere and not isinstance(error, ValueError | TypeError | IndexError):
            return
        state = initial_state(problem.w0)
        raise click.UsageError(
            f"{failed(f'the Phi of {name}', error)}, called on states of {state.size} weights ({state.dtype}): give it "
            "the initial state (--w0) that it is for"
        ) from error
    if found.error:
        raise PropagatorError(found.error)


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Say in a line what a Phi of the user's own raised in the midst of a solve, and where."""
    try:
        yield
    except (CheckpointError, ClusterError, PropagatorError, ImportError, MemoryError, click.ClickException):
        raise
    except Exception as error:
        if isinstance(error, ValueError | TypeError) and not place_of(error):
            raise
        notes = getattr(error, "__notes__", [])
        raise CannotRun("; ".join([str(failed(f"the Phi of {name}", error)), *notes])) from error
