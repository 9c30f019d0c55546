"""The command ``daskmgrit solve``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from daskmgrit.checkpoint import Checkpoint
from daskmgrit.checkpoint.place import try_directory
from daskmgrit.checkpoint.policy import as_checkpoint
from daskmgrit.checkpoint.window_saver import USUAL_SECONDS
from daskmgrit.cli.connection import command_client
from daskmgrit.cli.ends import note, usage_errors
from daskmgrit.cli.jobs import Job, make_job
from daskmgrit.cli.local_cluster import check_workers
from daskmgrit.cli.options import PROBLEM_HELP, Grouped, given
from daskmgrit.cli.plot_file import check_plot, save_plot
from daskmgrit.cli.problem import asked_problem, completed, explained, method_of, try_own
from daskmgrit.cli.report import compare, tell
from daskmgrit.cli.slurm import slurm_client
from daskmgrit.cli.solve_options import GROUPS
from daskmgrit.executors.room import check_room
from daskmgrit.mgrit import MGRIT
from daskmgrit.problems import OwnProblem
from daskmgrit.recurrence.state import initial_state
from daskmgrit.recurrence.trial import already_tried
from daskmgrit.solver.result import Result

__all__ = ["solve"]

HELP = f"""Train PROBLEM in parallel over the training steps, by MGRIT or by parallel Newton.

    {PROBLEM_HELP}

    Exit status: 0 converged, 1 not converged or diverged, 2 bad usage, 3 the solve could not run, 130 interrupted.
    """


@click.command(cls=Grouped, groups=GROUPS, help=HELP)
@click.argument("problem", shell_complete=completed)
def solve(
    problem: str,
    w0: str | None,
    method: str | None,
    scheduler: str | None,
    keys: str | None,
    workers: int | None,
    threads: int | None,
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
    if threads and (scheduler or slurm):
        where = (
            "--scheduler: its workers have theirs"
            if scheduler
            else f"--slurm: give a job {threads} cores and one process, by cores: {threads} and processes: 1 of "
            "jobqueue.slurm in dask.config"
        )
        raise click.UsageError(f"--threads {threads} is not for {where}")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not checkpoint and (resume or checkpoint_every or checkpoint_minutes is not None):
        raise click.UsageError("--resume, --checkpoint-every and --checkpoint-minutes need --checkpoint DIR")
    if workers and not slurm:
        check_workers(workers)
    if plot:
        check_plot(plot)
    with usage_errors(as_json):
        found = asked_problem(problem, w0, options["steps"], options["seed"])
        method = method_of(found, method)
        job = make_job(found, method, check, options)
        if isinstance(job.solver, MGRIT) and not (scheduler or slurm):
            finest = job.solver.hierarchy[0]
            row = initial_state(job.problem.w0).nbytes
            check_room(finest.steps, finest.coarsening, row, options["storage"])
        tried = None
        if isinstance(found, OwnProblem):
            tried = try_own(job.problem, problem, elsewhere=bool(scheduler or slurm), parts=method == "newton")
        policy = _policy(checkpoint, checkpoint_every, checkpoint_minutes, method)
        if asked := as_checkpoint(policy):
            # Before workers are started and anything is shown.
            try_directory(asked.directory, resume and asked.latest() is not None)
        with (
            slurm_client(workers, timeout)
            if slurm
            else command_client(scheduler, workers, keys, timeout, threads) as client,
            explained(found, problem),
            already_tried(job.solver.phi, tried),
        ):
            note(job.solver)
            how = {"tol": options["tol"], "client": client, "progress": True, "timeout": timeout}
            result = _solve(job, policy, resume, how)
            try:
                checked, losses = compare(job, result, curves=bool(plot)) if check else ({}, None)
            except KeyboardInterrupt:
                # The solve itself has ended.
                tell(job, result, {}, as_json=as_json)
                raise
    if plot:
        save_plot(result, plot, losses)
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
    """Return where and how often to save; a directory alone leaves the latter to the solve."""
    if directory is None or (every is None and minutes is None):
        return directory
    usual: dict[str, Any] = {"every": None, "seconds": USUAL_SECONDS} if method == "newton" else {}
    asked: dict[str, Any] = {"every": every, "seconds": None if minutes is None else 60 * minutes}
    return Checkpoint(directory, **usual | {name: value for name, value in asked.items() if value is not None})
