"""The command ``daskmgrit solve``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from daskmgrit.checkpoint import Checkpoint
from daskmgrit.checkpoint.policy import as_checkpoint
from daskmgrit.cli.connection import command_client
from daskmgrit.cli.ends import note
from daskmgrit.cli.jobs import mgrit_job, newton_job
from daskmgrit.cli.plot_file import check_plot, save_plot
from daskmgrit.cli.report import compare, tell
from daskmgrit.cli.slurm import slurm_client
from daskmgrit.cli.values import CHUNKS, CYCLE, RATE, RELAXATION, SEED, SLOTS, WAIT, PerLevel
from daskmgrit.errors import PropagatorError
from daskmgrit.models.optimizers import OPTIMIZERS
from daskmgrit.newton.settings import JACOBIANS
from daskmgrit.problems import COARSE_DATA, PROBLEMS, SOLVERS

__all__ = ["solve"]


@click.command()
@click.argument("problem", type=click.Choice(list(PROBLEMS)))
@click.option("--steps", type=int, help="N, the number of training steps; by default what suits the problem.")
@click.option(
    "--solver",
    type=click.Choice(list(SOLVERS)),
    help="; ".join(f"{name}: {text}" for name, text in SOLVERS.items()) + ". By default what suits the problem.",
)
@click.option(
    "--method",
    type=click.Choice(["mgrit", "newton"]),
    default="mgrit",
    show_default=True,
    help="mgrit: multigrid over all steps; newton: parallel Newton over a sliding window of steps.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", *OPTIMIZERS]),
    default="sgd",
    show_default=True,
    help="Of --method newton; sgd is the gradient descent of --solver.",
)
@click.option("--slots", type=SLOTS, default="auto", show_default=True, help="Slots of the window of --method newton.")
@click.option(
    "--jacobian",
    type=click.Choice(["auto", *JACOBIANS]),
    default="auto",
    show_default=True,
    help="What stands for the Jacobian of a step in --method newton.",
)
@click.option("--rank", type=click.IntRange(min=1), default=32, show_default=True, help="Rank of --jacobian lowrank.")
@click.option(
    "--interval",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Steps of a slot of --method newton, one after another.",
)
@click.option("--cycle", type=CYCLE, default="V", show_default=True)
@click.option("--max-levels", type=int, help="Maximum number of levels; 2 is the two-level method.")
@click.option("--min-coarse", type=int, help="Coarsen while the coarsest level has more steps than this [default: 10].")
@click.option("--coarsening", type=PerLevel(int, single=True), help="Factor m; a comma list: per level [default: 2].")
@click.option(
    "--relaxation",
    type=RELAXATION,
    help="F, FCF, FCFCF … or nu of F(CF)^nu; a comma list: per level [default: FCF].",
)
@click.option(
    "--weight",
    default="1.0",
    show_default=True,
    type=PerLevel(float, single=True),
    help="Weight of the C-relaxation; a comma list: per level.",
)
@click.option("--learning-rate", type=RATE, help="alpha_b, the rate of level 0.")
@click.option(
    "--max-learning-rate",
    type=RATE,
    help="alpha_max, the largest stable rate: the cap on coarse levels, or with --coarse the longest stage.",
)
@click.option(
    "--coarse",
    type=PerLevel(str, single=True),
    help="Coarse steps beyond alpha_max: capped [default of Solvers 1-3], substeps, chebyshev [4]; a list: per level.",
)
@click.option(
    "--data",
    type=click.Choice(list(COARSE_DATA)),
    help="What coarse steps see of serialized data: step [default of Solvers 2 and 3], window [4], injected, averaged.",
)
@click.option("--max-stages", type=click.IntRange(min=1), help="Maximum number of stages; longer steps are cut short.")
@click.option("--window", type=click.IntRange(min=1), help="B, the most fine steps whose examples a window holds.")
@click.option("--batch", type=click.IntRange(min=1), help="Examples per step of Solvers 2 and 3.")
@click.option(
    "--seed",
    type=SEED,
    default=1,
    show_default=True,
    help="Of the initial weights (and the data's order).",
)
@click.option(
    "--initial-guess",
    type=click.Choice(["zero", "constant", "nested"]),
    help="Default: what suits the problem.",
)
@click.option(
    "--tol",
    type=float,
    help="Absolute tolerance of the residual [default: 1e-9*sqrt(N), in float32 1e-5*sqrt(N)]; 0: never stop early.",
)
@click.option("--maxiter", type=int, default=50, show_default=True, help="Maximum number of cycles.")
@click.option("--chunks", default="auto", show_default=True, type=CHUNKS, help="Chunks of level 0.")
@click.option(
    "--storage",
    type=click.Choice(["full", "c-points"]),
    default="full",
    show_default=True,
    help="c-points: about 2/m of the memory.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Of weights and data.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Solve on this Dask cluster, e.g. tcp://127.0.0.1:8786.")
@click.option("--keys", metavar="FOLDER", help="For a tls:// ADDRESS: the keys that `python -m daskmgrit.tls` made.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of worker processes to start on this machine, with --slurm in SLURM jobs.",
)
@click.option(
    "--slurm", is_flag=True, help="Start workers as SLURM jobs, by jobqueue.slurm and daskmgrit.slurm in dask.config."
)
@click.option(
    "--timeout",
    type=WAIT,
    help="How long to wait for workers: seconds, or e.g. 5min.  [default: 60s; with --slurm 1h]",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Save checkpoints in this directory, which all workers share.",
)
@click.option("--checkpoint-every", type=click.IntRange(min=1), help="Save every N cycles.  [default: 10]")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    help="Save when the last checkpoint is this many minutes old.  [default: 10]",
)
@click.option("--resume", is_flag=True, help="Resume from the checkpoint in DIR; begin if there is none yet.")
@click.option("--check", is_flag=True, help="Compare with serial training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, all else on stderr.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Plot the residuals.")
def solve(
    problem: str,
    solver: str | None,
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
    """Train PROBLEM in parallel over the training steps, by MGRIT or by parallel Newton.

    Exit status: 0 converged, 1 not converged or diverged, 2 bad usage, 3 the solve could not run, 130 interrupted.
    """
    if scheduler and (workers or slurm):
        other = "--slurm" if slurm else "--workers"
        raise click.UsageError(f"--scheduler and {other} exclude each other: connect to a cluster, or start one")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not checkpoint and (resume or checkpoint_every or checkpoint_minutes is not None):
        raise click.UsageError("--resume, --checkpoint-every and --checkpoint-minutes need --checkpoint DIR")
    if plot:
        check_plot(plot)
    try:
        task = PROBLEMS[problem](seed=options["seed"])
        task = replace(task, w0=task.w0.astype(options["dtype"]))
        job = (newton_job if options["method"] == "newton" else mgrit_job)(task, solver, check, options)
        with slurm_client(workers, timeout) if slurm else command_client(scheduler, workers, keys, timeout) as client:
            note(job.solver)
            how = {"tol": options["tol"], "client": client, "progress": True, "timeout": timeout}
            policy = _policy(checkpoint, checkpoint_every, checkpoint_minutes)
            if resume and (asked := as_checkpoint(policy)) and asked.latest():
                source = click.get_current_context().get_parameter_source
                given = {name for name in options if source(name) != ParameterSource.DEFAULT}
                result = job.resume(policy, given, how)
            else:
                if resume:
                    note(f"no checkpoint in {checkpoint} yet: beginning from the initial guess")
                result = job.solve(policy, how)
            checked = compare(job, result) if check else {}
    except (ValueError, TypeError) as error:
        if isinstance(error, PropagatorError):
            raise
        raise click.UsageError(str(error)) from error
    if plot:
        save_plot(result, plot)
    tell(job, result, checked, as_json=as_json)
    sys.exit(0 if result.converged else 1)


def _policy(directory: Path | None, every: int | None, minutes: float | None) -> Checkpoint | Path | None:
    """Return what says where and how often to save; a directory alone leaves the latter to the solve."""
    if directory is None or (every is None and minutes is None):
        return directory
    given: dict[str, Any] = {"every": every, "seconds": None if minutes is None else 60 * minutes}
    return Checkpoint(directory, **{name: value for name, value in given.items() if value is not None})
