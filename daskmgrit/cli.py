"""The command line: ``daskmgrit solve …``, also ``dask mgrit solve …``."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

import daskmgrit
from daskmgrit.checkpoint import Checkpoint
from daskmgrit.checkpoint.store import latest
from daskmgrit.dashboard.command import dashboard
from daskmgrit.errors import CheckpointError, ClusterError, PropagatorError
from daskmgrit.interrupt import quiet_end, spared
from daskmgrit.mgrit import MGRIT
from daskmgrit.paper.command import paper
from daskmgrit.plan.command import plan
from daskmgrit.problems import COARSE_DATA, PROBLEMS, SOLVERS, Problem
from daskmgrit.result import Result
from daskmgrit.serial import train_serially
from daskmgrit.slurm.command import slurm_client
from daskmgrit.tls import read_keys
from daskmgrit.tune.command import tune

__all__ = ["main"]


def _per_level(convert: Callable[[str], Any]) -> Callable[[Any, Any, str], Any]:
    """Read an option that is one value or a comma-separated list with one per level."""

    def read(context: Any, parameter: Any, value: str | None) -> Any:
        if value is None:
            return None
        try:
            values = [convert(part.strip()) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(f"{value!r}: give one value, or several with commas, one per level") from None
        return values[0] if len(values) == 1 else values

    return read


class CannotRun(click.ClickException):
    """The solve could not run: no cluster, or a package that is missing."""

    exit_code = 3


def _relaxation(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _chunks(context: Any, parameter: Any, value: str) -> int | str:
    if value == "auto":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f'{value!r}: give "auto" or a number of chunks') from None


@click.group("mgrit", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(daskmgrit.__version__, package_name="daskmgrit", prog_name="daskmgrit")
def main() -> None:
    """Train neural networks in parallel over the training steps: multigrid reduction in time (MGRIT) on Dask."""


main.add_command(paper)
main.add_command(dashboard)
main.add_command(tune)
main.add_command(plan)


@main.command()
@click.argument("problem", type=click.Choice(list(PROBLEMS)))
@click.option("--steps", type=int, help="N, the number of training steps; by default what suits the problem.")
@click.option(
    "--solver",
    type=click.Choice(list(SOLVERS)),
    help="; ".join(f"{name}: {text}" for name, text in SOLVERS.items()) + ". By default what suits the problem.",
)
@click.option("--cycle", type=click.Choice(["V", "F"], case_sensitive=False), default="V", show_default=True)
@click.option("--max-levels", type=int, help="At most so many levels; 2 is the two-level method.")
@click.option("--min-coarse", type=int, help="Coarsen while the coarsest level has more steps than this [default: 10].")
@click.option("--coarsening", callback=_per_level(int), help="Factor m; a comma list: per level [default: 2].")
@click.option(
    "--relaxation",
    callback=_per_level(_relaxation),
    help="F, FCF, FCFCF … or nu of F(CF)^nu; a comma list: per level [default: FCF].",
)
@click.option(
    "--weight",
    default="1.0",
    show_default=True,
    callback=_per_level(float),
    help="Weight of the C-relaxation; a comma list: per level.",
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="alpha_b, the rate of level 0.")
@click.option(
    "--max-learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="alpha_max, the largest stable rate: the cap on coarse levels, or with --coarse the longest stage.",
)
@click.option(
    "--coarse",
    callback=_per_level(str),
    help="Coarse steps beyond alpha_max: capped [default of Solvers 1-3], substeps, chebyshev [4]; a list: per level.",
)
@click.option(
    "--data",
    type=click.Choice(list(COARSE_DATA)),
    help="What coarse steps see of serialized data: step [default of Solvers 2 and 3], window [4], injected, averaged.",
)
@click.option("--max-stages", type=click.IntRange(min=1), help="At most so many stages; longer steps are cut short.")
@click.option("--window", type=click.IntRange(min=1), help="B, the most fine steps whose examples a window holds.")
@click.option("--batch", type=click.IntRange(min=1), help="Examples per step of Solvers 2 and 3.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
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
    help="Absolute tolerance of the residual [default: 1e-9*sqrt(N)]; 0: never stop early.",
)
@click.option("--maxiter", type=int, default=50, show_default=True, help="At most so many cycles.")
@click.option("--chunks", default="auto", show_default=True, callback=_chunks, help="Chunks of level 0.")
@click.option(
    "--storage",
    type=click.Choice(["full", "c-points"]),
    default="full",
    show_default=True,
    help="c-points: 1/m of the memory.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Of weights and data; float32 needs --tol.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Solve on this Dask cluster, e.g. tcp://127.0.0.1:8786.")
@click.option("--keys", metavar="FOLDER", help="For a tls:// ADDRESS: the keys that `python -m daskmgrit.tls` made.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Start so many worker processes on this machine, with --slurm in SLURM jobs.",
)
@click.option(
    "--slurm", is_flag=True, help="Start workers as SLURM jobs, by jobqueue.slurm and daskmgrit.slurm in dask.config."
)
@click.option("--timeout", metavar="TIME", help="How long to wait for workers: seconds, or e.g. 5min.  [default: 60s]")
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Save checkpoints in this directory, which all workers share.",
)
@click.option("--checkpoint-every", type=click.IntRange(min=1), help="Save after so many cycles.  [default: 10]")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    help="Save when the last checkpoint is so old.  [default: 10]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in DIR; begin if there is none yet.")
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
    timeout: str | None,
    checkpoint: Path | None,
    checkpoint_every: int | None,
    checkpoint_minutes: float | None,
    resume: bool,
    check: bool,
    as_json: bool,
    plot: Path | None,
    **options: Any,
) -> None:
    """Train PROBLEM with MGRIT.

    Exit status: 0 converged, 1 not converged or diverged, 2 bad usage, 3 the solve could not run, 130 interrupted.
    """
    if scheduler and (workers or slurm):
        other = "--slurm" if slurm else "--workers"
        raise click.UsageError(f"--scheduler and {other} exclude each other: connect to a cluster, or start one")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not checkpoint and (resume or checkpoint_every or checkpoint_minutes is not None):
        raise click.UsageError("--resume, --checkpoint-every and --checkpoint-minutes need --checkpoint DIR")
    if options["dtype"] == "float32" and options["tol"] is None:
        raise click.UsageError("--dtype float32: its rounding is above the default tolerance; give --tol, e.g. 1e-4")
    if plot:
        _check_plot(plot)
    try:
        task = PROBLEMS[problem](seed=options["seed"])
        task = replace(task, w0=task.w0.astype(options["dtype"]))
        solver = solver or task.solver
        hierarchy = task.hierarchy(
            solver, **{name: options[name] for name in ("coarsening", "relaxation", "min_coarse", "max_levels")}
        )
        phi = task.propagator(
            solver,
            options["learning_rate"],
            options["max_learning_rate"],
            factor=hierarchy.get("coarsening", 2),
            dtype=options["dtype"],
            **{name: options[name] for name in ("batch", "coarse", "max_stages", "data", "window")},
        )
        mgrit = MGRIT(
            phi,
            task.steps if options["steps"] is None else options["steps"],
            cycle=options["cycle"],
            weight=options["weight"],
            **hierarchy,
        )
        click.echo(mgrit, err=True)
        with slurm_client(workers, _number(timeout)) if slurm else _client(scheduler, workers, keys) as client:
            how = {
                "tol": options["tol"],
                "chunks": options["chunks"],
                "client": client,
                "progress": True,
                "timeout": _number(timeout),
            }
            policy = _policy(checkpoint, checkpoint_every, checkpoint_minutes)
            if resume and checkpoint and latest(checkpoint):
                source = click.get_current_context().get_parameter_source
                given = {
                    name: options[name] for name in ("maxiter", "storage") if source(name) != ParameterSource.DEFAULT
                }
                result = mgrit.resume(policy, task.w0, **given, **how)
            else:
                if resume:
                    click.echo(f"no checkpoint in {checkpoint} yet: beginning from the initial guess", err=True)
                guess = options["initial_guess"] or task.guess(solver)
                how |= {"maxiter": options["maxiter"], "storage": options["storage"], "checkpoint": policy}
                result = mgrit.solve(task.w0, guess, **how)
            checked = _check(mgrit, task, result) if check else {}
    except (ValueError, TypeError) as error:
        if isinstance(error, PropagatorError):
            raise
        raise click.UsageError(str(error)) from error
    except (CheckpointError, ClusterError, ImportError) as error:
        raise CannotRun(". ".join([str(error), *getattr(error, "__notes__", [])])) from error
    except KeyboardInterrupt as error:
        click.echo("; ".join(["interrupted", *getattr(error, "__notes__", [])]), err=True)
        sys.exit(130)
    metrics = task.metrics(result.final) if np.isfinite(result.final).all() else {}
    if plot:
        _save_plot(result, plot)
    if as_json:
        click.echo(json.dumps(_clean(_summary(task, solver, mgrit, result) | checked | {"metrics": metrics})))
    else:
        click.echo(result)
        for name, value in metrics.items():
            click.echo(f"{name.replace('_', ' '):19s} {value:.4g}")
        if checked:
            click.echo(
                f"{'largest error':19s} {checked['max_error']:.2e} against serial training, all steps and weights"
            )
            ratio = checked["serial_seconds"] / result.timings["total"]
            click.echo(
                f"{'serial training':19s} {checked['serial_seconds']:.3g} s: this solve was "
                + (f"{ratio:.2g} times faster" if ratio > 1 else f"{1 / ratio:.2g} times slower")
            )
    sys.exit(0 if result.converged else 1)


def connect(scheduler: str, keys: str | None = None) -> Any:
    """Return a client of the cluster at an address."""
    from distributed import Client

    try:
        # Not as default: one that fails to connect would stay it.
        security = read_keys(keys) if keys else None
        return Client(scheduler, timeout="10s", set_as_default=False, security=security)
    except FileNotFoundError as error:
        raise click.UsageError(f"--keys {keys}: {error}") from error
    except (ValueError, TypeError) as error:
        raise click.UsageError(
            f"--scheduler {scheduler}: {error}; give tcp://HOST:PORT, or tls://HOST:PORT with --keys FOLDER"
        ) from error
    except Exception as error:
        # Mostly an OSError, but a client that is interrupted in connecting raises others, assertions among them.
        raise ClusterError(f"no Dask scheduler answers at {scheduler} within 10 s: {error!r}") from error


@contextmanager
def _client(scheduler: str | None, workers: int | None, keys: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on loopback; None where neither is asked for."""
    if scheduler:
        with connect(scheduler, keys) as client, client.as_current(), quiet_end():
            click.echo(f"cluster {scheduler}, dashboard {client.dashboard_link}", err=True)
            yield client
    elif workers:
        from distributed import Client, LocalCluster

        with spared():
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            )
        with cluster, Client(cluster) as client, quiet_end(client):
            click.echo(
                f"{workers} worker processes, dashboard {client.dashboard_link.replace('/status', '/mgrit')}", err=True
            )
            yield client
    else:
        yield None


def _policy(directory: Path | None, every: int | None, minutes: float | None) -> Checkpoint | Path | None:
    """Return what says where and how often to save; a directory alone leaves the latter to the solve."""
    if directory is None or (every is None and minutes is None):
        return directory
    given: dict[str, Any] = {"every": every, "seconds": None if minutes is None else 60 * minutes}
    return Checkpoint(directory, **{name: value for name, value in given.items() if value is not None})


def _number(time: str | None) -> float | str | None:
    """Read seconds where a time has no unit."""
    try:
        return None if time is None else float(time)
    except ValueError:
        return time


def _check(mgrit: MGRIT, task: Problem, result: Result) -> dict[str, float]:
    """Train serially and compare all states, chunk by chunk."""
    clock = time.perf_counter()
    serial = train_serially(mgrit.phi, task.w0, mgrit.steps)
    seconds = time.perf_counter() - clock
    worst, start = 0.0, 0
    for number in range(result.weights.numblocks[0]):
        rows = result.weights.blocks[number].compute()
        worst = float(np.maximum(worst, np.abs(rows - serial[start : start + len(rows)]).max()))
        start += len(rows)
    return {"max_error": worst, "serial_seconds": seconds}


def _summary(task: Problem, solver: str, mgrit: MGRIT, result: Result) -> dict[str, Any]:
    return {
        "problem": task.name,
        "solver": solver,
        "steps": result.levels[0],
        "levels": result.levels,
        "stages": mgrit.stages,
        "cycle": result.cycle,
        "iterations": result.iterations,
        "residuals": result.residuals,
        "converged": result.converged,
        "reason": result.reason,
        "message": result.message,
        "convergence_factor": result.convergence_factor,
        "phi_evaluations": result.phi_evaluations,
        "critical_path": result.critical_path,
        "tasks": result.tasks,
        "seconds": result.timings["total"],
    }


def _clean(value: Any) -> Any:
    """Return the value with nan and inf, which JSON lacks, as null."""
    if isinstance(value, dict):
        return {name: _clean(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_plot(path: Path) -> None:
    """Find out before the solve what would keep the plot from being written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise click.UsageError("--plot needs matplotlib: pip install 'daskmgrit[plot]'") from None
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise click.BadParameter(f"{path}: the name must end in one of {', '.join('.' + kind for kind in known)}")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{path}: the folder {path.parent} does not exist")


def _save_plot(result: Result, path: Path) -> None:
    """Write the plot whole or not at all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    result.plot(figure.subplots())
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, suffix=path.suffix)
    os.close(handle)
    try:
        figure.savefig(name, dpi=150)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    click.echo(f"plot written to {path}", err=True)
