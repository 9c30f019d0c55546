"""The command ``daskmgrit tune``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from daskmgrit.cli.ends import NotConverged, note, say, usage_errors
from daskmgrit.cli.options import AS_JSON, PROBLEM_HELP, W0, Grouped, method, optimizer, refuse
from daskmgrit.cli.problem import asked_problem, completed, explained, method_of, try_own
from daskmgrit.cli.values import CYCLE, RATE, SEED
from daskmgrit.coarse.estimate import RateEstimate, estimate_max_rate
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.rates import takes_fine_steps
from daskmgrit.problems import LOOPS, PROBLEMS, OwnProblem, Problem
from daskmgrit.problems.training import training
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.step_length import made_for, takes_any_coarsening
from daskmgrit.recurrence.trial import Finding, already_tried
from daskmgrit.tune.search import NoneConverged, Trial, TuneReport
from daskmgrit.tune.search import tune as search
from daskmgrit.tune.settings import Settings, default_grid
from daskmgrit.tune.windows import tune_window

__all__ = ["tune"]

_PROBLEM = [
    click.Option(["--steps"], type=int, help="N, the number of steps that the settings are for; by default PROBLEM's."),
    W0,
    click.Option(["--seed"], type=SEED, default=1, show_default=True, help="Seed of the initial weights."),
    click.Option(["--learning-rate"], type=RATE, help="alpha_b, the rate of level 0."),
    method("mgrit: coarse steps, coarsening, relaxation; newton: window, Jacobian, steps of a slot."),
    click.Option(
        ["--prefix"],
        type=int,
        help="Steps to solve with each setting; mgrit also solves a quarter of them.  [default: N, at most 400]",
    ),
]
_MGRIT = [
    click.Option(
        ["--solver"],
        type=click.Choice(["1", "2", "3", "4"]),
        default="4",
        show_default=True,
        help="Solver whose data to train with; 4: the problem's own.",
    ),
    click.Option(["--cycle"], type=CYCLE, default="V", show_default=True),
    click.Option(["--max-learning-rate"], type=RATE, help="alpha_max to start with [default: estimated]."),
    click.Option(
        ["--sweeps"], type=click.IntRange(min=1), default=1, show_default=True, help="Rounds through all levers."
    ),
    click.Option(
        ["--maxiter"],
        type=click.IntRange(min=1),
        default=30,
        show_default=True,
        help="Cycles before a trial fails.",
    ),
]
_NEWTON = [
    optimizer(),
    click.Option(
        ["--workers"],
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="Threads that evaluate Phi at once.",
    ),
]
GROUPS = {
    "Problem": _PROBLEM,
    "MGRIT (--method mgrit)": _MGRIT,
    "Parallel Newton (--method newton)": _NEWTON,
    "Output": [AS_JSON],
}
HELP = f"""Find settings of PROBLEM with a short critical path, by solving a short prefix of its training run.

    {PROBLEM_HELP}

    Prints the settings tried, the best first, and a command that solves with the best. A Phi of your own
    chooses its coarse steps itself: coarsening, relaxation and size of the coarsest level are tried.

    Exit status: 0 a setting was found, 1 none converged, 2 bad usage, 3 the solves could not run, 130 interrupted.
    """


@click.command(cls=Grouped, groups=GROUPS, help=HELP)
@click.argument("problem", shell_complete=completed)
def tune(
    problem: str, w0: str | None, steps: int | None, seed: int, method: str | None, as_json: bool, **options: Any
) -> None:
    """Tune a problem; the help is above."""
    with usage_errors(as_json):
        found = asked_problem(problem, w0, steps, seed)
        method = method_of(found, method)
        other = _MGRIT if method == "newton" else _NEWTON
        refuse([str(option.name) for option in other], f"is for --method {'mgrit' if method == 'newton' else 'newton'}")
        own = tried = None
        if isinstance(found, OwnProblem):
            own = found.phi
            tried = try_own(found, problem, parts=method == "newton")
            if tried and tried.remark:
                note(tried.remark)
        steps = found.steps if steps is None else steps
        words = ["daskmgrit", "solve", problem, *([] if w0 is None else ["--w0", w0]), "--steps", str(steps)]
        ends = ["--seed", str(seed)] if problem in (*PROBLEMS, *LOOPS) else []
        # Its defect was reported.
        with explained(found, problem), already_tried(own, Finding()), _none_converged(found, tried):
            if method == "newton":
                told, text, best = _windows(found, steps, options)
            elif isinstance(found, OwnProblem):
                told, text, best = _levels(found, steps, options)
            else:
                told, text, best = _coarse_steps(found, steps, options)
    command = shlex.join([*words, *best, *ends])
    if as_json:
        say(json.dumps({"problem": found.name, "command": command} | told))
    else:
        say(f"{text}\n\n{command}")


@contextmanager
def _none_converged(found: Problem | OwnProblem, tried: Finding | None) -> Iterator[None]:
    """End a search in which nothing converged like a solve that has not converged."""
    try:
        yield
    except NoneConverged as error:
        rates = "lower --learning-rate"
        if isinstance(found, OwnProblem):
            rates = f"{'lengthen' if takes_fine_steps(found.phi) else 'shorten'} its coarse steps"
        advice = f"{rates}, allow more cycles (--maxiter), or use --method newton, which needs no coarse steps"
        why = ", because phi cannot converge: see above" if tried and tried.remark else f": {advice}"
        raise NotConverged(error.args[0] + why) from error


# The findings, the same in words, and the options that solve with the best.
Tuned = tuple[dict[str, Any], str, list[str]]


def _coarse_steps(task: Problem, steps: int, options: Mapping[str, Any]) -> Tuned:
    """Find settings of Solver 4 for a built-in problem."""
    rate = task.learning_rate if options["learning_rate"] is None else options["learning_rate"]
    solver = task.tuned.base if options["solver"] == "4" else options["solver"]
    serialized = solver != "1"
    window = task.tuned.window if serialized else None

    def make(settings: Settings) -> GradientDescent:
        return task.propagator(
            solver,
            rate,
            max(settings.max_rate or rate, rate),
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
    report = _search(make, task.w0, steps, Settings(top, window=window), None, task.guess("4"), options)
    best = report.best.settings
    words = ["--solver", solver, "--learning-rate", f"{rate:g}", "--max-learning-rate", f"{best.max_rate:.6g}"]
    words += [*_level_words(best, options), "--coarse", best.coarse]
    if best.max_stages is not None:
        words += ["--max-stages", str(best.max_stages)]
    if best.window is not None:
        words += ["--data", "window", "--window", str(best.window)]
    told = {"solver": solver, "estimate": _estimated(estimate), **_told(report)}
    return told, str(report), [*words, "--initial-guess", task.guess("4")]


def _levels(problem: OwnProblem, steps: int, options: Mapping[str, Any]) -> Tuned:
    """Find levels for a Phi that chooses its own coarse steps."""

    def several(value: Any) -> tuple[Any, ...]:
        return (value,) if isinstance(value, int | str) else tuple(value)

    relaxation = tuple("F" + "CF" * nu if isinstance(nu, int) else nu for nu in several(problem.relaxation))
    start = Settings(None, several(problem.coarsening), relaxation, problem.min_coarse)
    grid = default_grid(start)
    if not takes_any_coarsening(problem.phi):
        # Its coarse steps are as long as these factors say.
        grid["coarsening"] = [start.coarsening]

    def make(settings: Settings) -> Phi:
        return made_for(problem.phi, settings.coarsening)

    report = _search(make, problem.w0, steps, start, grid, problem.initial_guess, options)
    told = _told(report)
    for trial in told["trials"]:
        for name in ("max_rate", "coarse", "max_stages", "window"):
            del trial[name]
    words = [*_level_words(report.best.settings, options), "--initial-guess", problem.initial_guess]
    return told, str(report), words


def _search(
    make: Any,
    w0: Any,
    steps: int,
    start: Settings,
    grid: Mapping[str, Any] | None,
    guess: str,
    options: Mapping[str, Any],
) -> TuneReport:
    how = {name: options[name] for name in ("prefix", "sweeps", "cycle", "maxiter")}
    return search(make, w0, steps, start, grid, initial_guess=guess, on_trial=lambda trial: note(_line(trial)), **how)


def _windows(found: Problem | OwnProblem, steps: int, options: Mapping[str, Any]) -> Tuned:
    """Find settings of parallel Newton."""
    name, rate = options["optimizer"] or "sgd", options["learning_rate"]
    problem = training(found, name, learning_rate=rate)
    report = tune_window(
        problem.phi,
        problem.w0,
        steps,
        options["workers"],
        options["prefix"],
        on_trial=lambda trial: note(
            f"window {trial.slots}, {trial.jacobian}, interval {trial.interval}: speedup {trial.speedup:.2f}"
        ),
    )
    best = report.best
    words = ["--method", "newton", "--slots", str(best.slots), "--jacobian", best.jacobian]
    words += ["--interval", str(best.interval), *([] if best.rank is None else ["--rank", str(best.rank)])]
    told = {"method": "newton"}
    if isinstance(found, Problem):
        words += ["--optimizer", name, *([] if rate is None else ["--learning-rate", f"{rate:g}"])]
        told["optimizer"] = name
    return told | asdict(report), str(report), words


def _line(trial: Trial) -> str:
    found = f"predicted speedup {trial.speedup:.2f}" if trial.speedup else trial.reason
    return f"{'  '.join(cell for cell in trial.settings.cells() if cell != '-')}: {found}"


def _level_words(settings: Settings, options: Mapping[str, Any]) -> list[str]:
    words = ["--cycle", options["cycle"].upper(), "--coarsening", ",".join(map(str, settings.coarsening))]
    relaxation = ",".join(settings.relaxation)
    return [*words, "--relaxation", relaxation, "--min-coarse", str(settings.min_coarse)]


def _estimated(estimate: RateEstimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)


def _told(report: TuneReport) -> dict[str, Any]:
    """Return all entries that JSON can hold."""
    return {
        "steps": report.steps,
        "prefixes": list(report.prefixes),
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
