"""The command ``daskmgrit tune``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from daskmgrit.cli.ends import note, say
from daskmgrit.cli.values import CYCLE, RATE, SEED
from daskmgrit.coarse.estimate import RateEstimate, estimate_max_rate
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.optimizers import OPTIMIZERS
from daskmgrit.problems import PROBLEMS, Problem
from daskmgrit.tune.search import Trial, TuneReport
from daskmgrit.tune.search import tune as search
from daskmgrit.tune.settings import Settings
from daskmgrit.tune.windows import tune_window

__all__ = ["tune"]


@click.command()
@click.argument("problem", type=click.Choice(list(PROBLEMS)))
@click.option("--steps", type=int, help="N, the number of steps that the settings are for; by default the problem's.")
@click.option(
    "--prefix", type=int, help="Steps to solve with each setting, and a quarter of them [default: N, at most 400]."
)
@click.option(
    "--method",
    type=click.Choice(["mgrit", "newton"]),
    default="mgrit",
    show_default=True,
    help="mgrit: coarse steps, coarsening, relaxation; newton: window, Jacobian, steps of a slot.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", *OPTIMIZERS]),
    default="sgd",
    show_default=True,
    help="Of --method newton; sgd is the gradient descent of the problem.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of --method newton: threads that evaluate Phi at once.",
)
@click.option(
    "--solver",
    type=click.Choice(["1", "2", "3", "4"]),
    default="4",
    show_default=True,
    help="Whose data to train with; 4: those that suit the problem.",
)
@click.option("--cycle", type=CYCLE, default="V", show_default=True)
@click.option("--learning-rate", type=RATE, help="alpha_b, the rate of level 0.")
@click.option(
    "--max-learning-rate",
    type=RATE,
    help="alpha_max to start with [default: estimated].",
)
@click.option("--seed", type=SEED, default=1, show_default=True, help="Of the initial weights.")
@click.option("--sweeps", type=click.IntRange(min=1), default=1, show_default=True, help="Rounds through all levers.")
@click.option(
    "--maxiter", type=click.IntRange(min=1), default=30, show_default=True, help="Cycles before a trial fails."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, all else on stderr.")
def tune(problem: str, steps: int | None, solver: str, seed: int, method: str, as_json: bool, **options: Any) -> None:
    """Find settings of PROBLEM with a short critical path, by solving a short prefix of its training run.

    Prints the settings tried, the best first, and a command that solves with the best.
    """
    try:
        task = PROBLEMS[problem](seed=seed)
        steps = task.steps if steps is None else steps
        if method == "newton":
            _tell_window(task, steps, seed, as_json, options)
            return
        rate = task.learning_rate if options["learning_rate"] is None else options["learning_rate"]
        solver = task.tuned.base if solver == "4" else solver
        serialized = solver != "1"
        window = task.tuned.window if serialized else None

        def make(settings: Settings) -> GradientDescent:
            return task.propagator(
                solver,
                rate,
                max(settings.max_rate, rate),
                coarsening=settings.coarsening,
                coarse=settings.coarse,
                max_stages=settings.max_stages,
                data="window" if serialized else None,
                window=settings.window,
            )

        top, estimate = options["max_learning_rate"], None
        if top is None:
            # The rate is that of a coarse level, where a step sees a whole window.
            level = max(steps.bit_length() - 4, 1)
            phi = make(Settings(rate, window=window))
            estimate = estimate_max_rate(phi.at_rate, task.w0, rate, steps=min(steps, 256), level=level)
            note(estimate)
            top = max(estimate.max_rate, rate)
        report = search(
            make,
            task.w0,
            steps,
            Settings(top, window=window),
            prefix=options["prefix"],
            sweeps=options["sweeps"],
            initial_guess=task.guess("4"),
            cycle=options["cycle"],
            maxiter=options["maxiter"],
            on_trial=lambda trial: note(_line(trial)),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    command = _command(task, solver, steps, seed, rate, options["cycle"], report.best.settings)
    if as_json:
        say(json.dumps(_summary(task, solver, report, estimate, command)))
    else:
        say(report)
        say(f"\n{command}")


def _tell_window(task: Problem, steps: int, seed: int, as_json: bool, options: dict[str, Any]) -> None:
    """Find settings of parallel Newton, and say which."""
    optimizer, rate = options["optimizer"], options["learning_rate"]
    if optimizer == "sgd":
        phi: Any = task.propagator(task.solver, rate)
        w0 = task.w0
    else:
        phi = task.optimizer(optimizer, rate)
        w0 = phi.w0
    report = tune_window(
        phi,
        w0,
        steps,
        options["workers"],
        options["prefix"],
        on_trial=lambda trial: note(
            f"window {trial.slots}, {trial.jacobian}, interval {trial.interval}: speedup {trial.speedup:.2f}"
        ),
    )
    best = report.best
    words = ["daskmgrit", "solve", task.name, "--method", "newton", "--optimizer", optimizer, "--steps", str(steps)]
    words += ["--slots", str(best.slots), "--jacobian", best.jacobian, "--interval", str(best.interval)]
    words += [] if best.rank is None else ["--rank", str(best.rank)]
    words += [] if rate is None else ["--learning-rate", f"{rate:g}"]
    command = " ".join([*words, "--seed", str(seed)])
    if as_json:
        about = {"problem": task.name, "method": "newton", "optimizer": optimizer, "command": command}
        say(json.dumps(about | asdict(report)))
    else:
        say(f"{report}\n\n{command}")


def _line(trial: Trial) -> str:
    found = f"predicted speedup {trial.speedup:.2f}" if trial.speedup else trial.reason
    return f"{'  '.join(trial.settings.cells())}: {found}"


def _command(task: Problem, solver: str, steps: int, seed: int, rate: float, cycle: str, settings: Settings) -> str:
    """Return the command line that solves with these settings."""
    words = ["daskmgrit", "solve", task.name, "--steps", str(steps), "--solver", solver, "--cycle", cycle.upper()]
    words += ["--learning-rate", f"{rate:g}", "--max-learning-rate", f"{settings.max_rate:.6g}"]
    words += ["--coarsening", ",".join(map(str, settings.coarsening))]
    words += ["--relaxation", ",".join(settings.relaxation), "--min-coarse", str(settings.min_coarse)]
    words += ["--coarse", settings.coarse]
    if settings.max_stages is not None:
        words += ["--max-stages", str(settings.max_stages)]
    if settings.window is not None:
        words += ["--data", "window", "--window", str(settings.window)]
    words += ["--initial-guess", task.guess("4"), "--seed", str(seed)]
    return " ".join(words)


def _summary(
    task: Problem, solver: str, report: TuneReport, estimate: RateEstimate | None, command: str
) -> dict[str, Any]:
    """Return everything that JSON can hold."""
    return {
        "problem": task.name,
        "solver": solver,
        "steps": report.steps,
        "prefixes": list(report.prefixes),
        "estimate": None if estimate is None else asdict(estimate),
        "command": command,
        "trials": [
            {
                **asdict(trial.settings),
                "iterations": list(trial.iterations),
                "reason": trial.reason,
                "cycles": trial.cycles if trial.speedup else None,
                "critical_path": trial.critical_path if trial.speedup else None,
                "speedup": trial.speedup,
                "work": trial.work,
            }
            for trial in report.trials
        ],
    }
