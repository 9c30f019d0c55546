"""The words of the page: the name and colour of each kind of task, and the state of a run in a line."""

from __future__ import annotations

import html
from collections.abc import Collection
from datetime import datetime
from time import time

from daskmgrit.dashboard.history import MANY, Run, Stage
from daskmgrit.dashboard.run import AnyRun
from daskmgrit.dashboard.window_run import WindowRun
from daskmgrit.display.colours import KINDS, kind_of

__all__ = [
    "COLOURS",
    "MANY_LEVELS",
    "NO_RUN",
    "direction",
    "does",
    "headline",
    "how_to_read",
    "kind",
    "label",
    "levels_of",
    "number_of",
    "seconds",
    "where",
]

OTHER, MANY_LEVELS = "rows moved, reports", "several levels"
COLOURS = {kind.name: kind.colour for kind in KINDS} | {OTHER: "#999999", MANY_LEVELS: "#DDDDDD"}

# A task is of the kind of its first stage.
_TASKS = {
    "relax": "C-relaxation",
    "relax_restrict": "C-relaxation",
    "probe": "C-relaxation",
    "restrict": "residual, restriction",
    "coarse_step": "residual, restriction",
    "enter": "residual, restriction",
    "coarse_solve": "coarse solve",
    "correct": "correction",
    "interpolate": "correction",
    "guess": "initial guess",
    "initial": "initial guess",
} | dict.fromkeys(MANY, MANY_LEVELS)

_DOES = {
    "relax": "C- and F-relaxation",
    "relax_restrict": "C- and F-relaxation, residual and restriction",
    "probe": "C-relaxation, for the residual",
    "restrict": "residual and restriction",
    "coarse_step": "coarse step for the right-hand side",
    "enter": "restriction, merging chunks",
    "coarse_solve": "coarse solve",
    "correct": "correction and F-relaxation",
    "interpolate": "interpolated guess and F-relaxation",
    "guess": "initial guess",
    "initial": "residual of the initial guess",
    "V_cycle": "rest of the V-cycle",
    "F_cycle": "rest of the F-cycle",
    "whole_cycle": "whole cycle",
    "nested": "nested initial guess",
    "edge": "rows cut out for a neighbour",
    "part": "coarse rows cut out for a worker",
    "report": "norms collected",
    "residual": "norms collected",
    "regroup": "chunks regrouped",
    "save": "C-points saved to a checkpoint",
    "saved": "checksums collected",
    "load": "chunk made from a checkpoint",
}

NO_RUN = "<p style='font-size:15px;color:#555'>No solve yet: this page fills as soon as one begins.</p>"

_HOW_TO_READ = {
    Run: "A pale bar is a task, drawn as it ends, coloured by what it does first. The solid bars in it are its stages, "
    "drawn when the residual of their cycle is known; what stays pale is overhead. A level's row runs from the first "
    "training step (top) to the last (bottom).",
    WindowRun: "A blue bar is a sweep: from bottom to top the steps of its window, from left to right the time that "
    "Phi took. The steps in green are accepted, there the next window begins. Gaps between bars are time without Phi.",
}


def how_to_read(kinds: Collection[type[AnyRun]]) -> str:
    """Return an explanation of the large plots of runs of these methods."""
    text = " ".join(words for kind, words in _HOW_TO_READ.items() if kind in kinds)
    return f"<div style='font-size:12px;color:#555;line-height:1.35;max-width:900px'>{text}</div>"


_DOWN = {"relax", "relax_restrict", "restrict", "enter", "coarse_step"}
_UP = {"correct", "interpolate"}

_STATE = {
    "running": ("#0072B2", "running"),
    "tol": ("#00664d", "converged"),
    "maxiter": ("#8a5a00", "stopped after maxiter cycles"),
    "callback": ("#8a5a00", "stopped by the callback"),
    "settled": ("#00664d", "stopped: the loss has settled"),
    "stagnated": ("#8a5a00", "stopped: the residual no longer falls"),
    "diverged": ("#a33c00", "diverged"),
}


def kind(name: str, task: bool) -> str:
    """Return the kind of a task or a stage, which decides its colour.

    Examples
    --------
    >>> kind("residual", task=False), kind("residual", task=True), kind("relax", task=True)
    ('residual, restriction', 'rows moved, reports', 'C-relaxation')
    """
    return _TASKS.get(name, OTHER) if task else kind_of(name).name


def does(name: str, task: bool) -> str:
    """Return a description of a task or a stage."""
    return f"task {name}: {_DOES.get(name, name)}" if task else f"stage: {name}"


def direction(name: str) -> str:
    """Return the direction of a stage.

    Examples
    --------
    >>> [direction(name) for name in ("relax", "V_cycle", "correct", "probe")]
    ['down', 'at the bottom', 'up', 'checking the residual']
    """
    if name in _DOWN:
        return "down"
    if name in _UP:
        return "up"
    return "checking the residual" if name in ("probe", "initial", "guess") else "at the bottom"


def seconds(value: float) -> str:
    """Return a duration to three digits.

    Examples
    --------
    >>> [seconds(value) for value in (2.5e-5, 0.0123, 4.567, 321)]
    ['25 µs', '12.3 ms', '4.57 s', '321 s']
    """
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1 or unit == "µs":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError


def last_of(count: int, kept: int) -> str:
    """Return the addition to a plot's title if it shows only the last bars of a run; empty if it shows all.

    Examples
    --------
    >>> last_of(6000, 6000), last_of(9000, 6000)
    ('', ', only the last 6000 of 9000 bars')
    """
    return f", only the last {kept} of {count} bars" if count > kept else ""


def number_of(count: int, what: str) -> str:
    """Return a number with its noun, singular or plural.

    Examples
    --------
    >>> number_of(1, "step"), number_of(7, "step")
    ('1 step', '7 steps')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def label(run: AnyRun) -> str:
    """Return a run's name in the list of runs."""
    about, begun = run.about, datetime.fromtimestamp(run.started)
    return f"{begun:%H:%M:%S}  {about['phi']}, {_method(run)}, N = {about['steps'][0]}, {_state(run)[1]}"


def _method(run: AnyRun) -> str:
    return "parallel Newton" if isinstance(run, WindowRun) else f"{run.about['cycle']}-cycle"


def _state(run: AnyRun) -> tuple[str, str]:
    return _STATE.get(run.state, ("#a33c00", run.state))


def where(run: Run) -> tuple[int | None, str, float]:
    """Return the current cycle, the solve's place in it, and the share of its tasks that are done."""
    cycle = run.current()
    stages = run.cycles.get(cycle, {}) if cycle is not None else {}
    tasks = sum(stage.tasks for stage in stages.values())
    share = sum(stage.done for stage in stages.values()) / tasks if tasks else 0.0
    if run.ended is not None:
        return cycle, "", share
    path = run.path(cycle)
    stage = next((stage for stage in path if stage.waiting), path[-1] if path else None)
    return cycle, f"{levels_of(stage)}, {direction(stage.name)}" if stage else "", share


def levels_of(stage: Stage) -> str:
    """Return the level that a stage is on, or those that it goes up."""
    return f"levels {stage.last} to {stage.level}" if stage.last > stage.level else f"level {stage.level}"


def headline(run: AnyRun) -> str:
    """Return the line above a run's plots."""
    colour, state = _state(run)
    about, now = run.about, run.ended or time()
    if isinstance(run, WindowRun):
        method, facts = f"parallel Newton, Jacobian {about['window']['jacobian']}", _sweep_facts(run)
    else:
        assert isinstance(run, Run)
        method, facts = f"{about['cycle']}-cycle on {number_of(len(about['steps']), 'level')}", _cycle_facts(run)
    facts = [fact.replace("e-", "e\N{NON-BREAKING HYPHEN}") for fact in facts]
    elapsed = max(now - run.started, 1e-9)
    facts.append(f"{number_of(run.tasks, 'task')} in {seconds(elapsed)}")
    facts.append(f"worker threads busy {min(run.busy / elapsed / run.threads, 1):.0%}")
    begun = datetime.fromtimestamp(run.started)
    message = f" <span style='color:#a33c00'>{html.escape(run.message)}</span>" if run.message else ""
    return (
        "<div style='font-size:15px;line-height:1.5'>"
        f"<span style='background:{colour};color:white;border-radius:4px;padding:2px 8px;margin-right:8px'>"
        f"{html.escape(state)}</span>"
        f"<b>{html.escape(about['phi'])}</b>, {method}, "
        f"N = {about['steps'][0]}, begun {begun:%H:%M:%S}{message}<br>"
        f"<span style='color:#444;font-size:14px'>{' &nbsp;·&nbsp; '.join(facts)}</span></div>"
    )


def _cycle_facts(run: Run) -> list[str]:
    about, facts = run.about, []
    cycle, place, share = where(run)
    if run.ended is None and cycle is not None:
        facts.append(f"cycle {cycle}: {place}, {share:.0%} of its tasks done")
    if run.residuals:
        number, residual = run.residuals[-1]
        goal = f"tolerance {about['tol']:.1e}" if about["tol"] else f"of {about['maxiter']}, no tolerance"
        when = f"after {number_of(number, 'cycle')}" if number else "of the initial guess"
        facts.append(f"residual {residual:.2e} {when} ({goal})")
    return facts


def _sweep_facts(run: WindowRun) -> list[str]:
    steps, tol = run.about["steps"][0], run.about["tol"]
    facts = [f"step {run.first} of {steps} ({run.first / steps:.0%}) after {number_of(run.sweeps, 'sweep')}"]
    if run.swept:
        facts.append(f"{run.mean:.2f} steps accepted per sweep")
    if run.rows and run.ended is None:
        facts.append(f"window of {number_of(run.rows[-1].slots, 'slot')}")
    if run.accepted_residuals:
        residual = f"residual {run.accepted_residuals[-1][1]:.2e} over accepted steps (tolerance {tol:.1e})"
        facts.append(residual if tol else "accepted steps have the bits of serial training")
    return facts
