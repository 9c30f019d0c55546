"""One solve by parallel Newton, on the requested executor."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

import dask.array as da
import numpy as np

from daskmgrit.checkpoint.policy import Checkpoint
from daskmgrit.checkpoint.window_saver import SavedWindow, open_window_saver
from daskmgrit.dashboard.window_reporter import WindowReporter
from daskmgrit.errors import CheckpointUnusable
from daskmgrit.executors.choose import choose_executor
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.weights_array import stacked
from daskmgrit.graph.window_tasks import Told
from daskmgrit.newton.settings import NewtonSettings, choose_size
from daskmgrit.newton.sizes import Fixed, Size
from daskmgrit.newton.sweep import SweepReport
from daskmgrit.recurrence.amplification import Amplification
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import InitialState, check_length
from daskmgrit.solver.examination import FEWEST, examine, examine_end
from daskmgrit.solver.first_look import first_look
from daskmgrit.solver.options import WindowRequest, asks_to_stop
from daskmgrit.solver.progress import Progress
from daskmgrit.solver.result import Result
from daskmgrit.solver.sweep_advice import gained_nothing, on_apart, on_failures, slow_from
from daskmgrit.solver.window_iteration import WindowEnd, WindowIteration

__all__ = ["WindowMethod", "run_window_solve"]


class WindowMethod(Protocol):
    """The problem and the settings of the windows; see :class:`daskmgrit.ParallelNewton`."""

    phi: Phi
    steps: int
    window: int | str
    work: float

    def settings(self, tol: float, size: Size, dtype: Any = float) -> NewtonSettings:
        """Return the settings for states of a dtype."""


def run_window_solve(
    method: WindowMethod,
    ask: WindowRequest,
    begin: float,
    w0: InitialState,
    policy: Checkpoint | None = None,
    saved: SavedWindow | None = None,
) -> Result:
    """Solve.

    Parameters
    ----------
    method : WindowMethod
        The problem and the settings.
    ask : WindowRequest
        The request for the solve.
    begin : float
        Time of the request, by ``time.perf_counter``.
    w0 : InitialState
        The initial state.
    policy : Checkpoint or None
        Where and how often to save.
    saved : SavedWindow or None
        The checkpoint to resume from.
    """
    phi = method.phi
    check_length(phi, w0)
    # Options that a dtype does not allow are refused before the wait for workers.
    jacobian = method.settings(ask.tol, Fixed(1), w0.dtype).jacobian
    executor = choose_executor(ask.client, ask.patience)
    executor.check(phi)
    run = f"0{uuid.uuid4().hex[:11]}"
    size = window_size(method, jacobian, executor) if saved is None else saved.size
    settings = method.settings(ask.tol, size, w0.dtype)
    if saved is not None:
        asked = window_size(method, jacobian, executor)
        _check_window(method.window, method.settings(ask.tol, asked, w0.dtype).size, saved)
    with (
        executor.session(),
        open_window_saver(policy, w0, settings, saved) as saver,
        Progress(ask.progress, ask.tol, settings.steps, begin, of="sweep") as lines,
        ExitStack() as stack,
    ):
        stub = executor.share(phi, f"propagator-{run}", phi)
        initial = executor.put(w0.origin, f"w0-{run}")
        remark = "" if saved else first_look(phi, executor, stub, initial, settings.steps, run, parts=True)
        if saver is not None:
            saver.identify(executor, stub, initial, run)
        keep = ask.keep == "all"
        iteration = WindowIteration(settings, stub, initial, w0.host, executor, run, keep, saver=saver)
        if saved is not None:
            iteration.begin, iteration.reports = saved.carrier(w0.block(phi), ask.tol), saved.reports
        done, first = len(iteration.reports), 0 if iteration.begin is None else iteration.begin.window.first
        watch = stack.enter_context(WindowReporter(executor, run, settings, iteration.threads, phi, done, first))
        losses: list[float] = []
        # A sweep may accept a single step, which changes no loss: what counts as unchanged is a part of the run.
        apart, measured = max(1, settings.steps // 100), first

        def after(told: Told, final: Callable[[], np.ndarray]) -> str:
            nonlocal measured
            watch.round(told)
            if not told.reports:
                return ""  # its first sweep diverged
            done, residual = len(iteration.reports), iteration.reports[-1].residual
            lines.sweep(done, residual, told.first)
            if ask.settled is not None and not told.over and told.first - measured >= apart:
                losses.append(ask.settled.measure(final()))
                measured = told.first
            if ask.callback is not None and asks_to_stop(ask.callback(done, residual, final())):
                return "callback"
            return "settled" if ask.settled is not None and ask.settled.holds(losses) else ""

        ended = iteration.solve(after)
        if ask.settled is not None and ended.first != measured:
            losses.append(ask.settled.measure(ended.final))
        weights = _weights(iteration, executor, w0, run) if keep else None
        watch.end(ended.reason, ended.message)
        amplification = None
        slow = None if remark or ended.reason == "diverged" or not ask.tol > 0 else _slow_from(iteration)
        if slow is not None:
            path = sum(report.depth for report in iteration.reports)
            allowed = max(path // 8, min(path // 2, FEWEST))
            seconds = time.perf_counter() - begin
            if slow == 0:
                amplification = examine(executor, stub, initial, run, [settings.steps], allowed, seconds)
            if amplification is None and ended.first == settings.steps:
                final = executor.put(w0.origin_of(ended.final), f"final-{run}")
                allowed = path // 4 - allowed if slow == 0 else allowed
                amplification = examine_end(executor, stub, final, run, settings.steps, allowed, seconds)
    return _result(iteration, ended, ask, begin, weights, losses, remark, amplification)


def _slow_from(iteration: WindowIteration) -> int | None:
    """Return the sweep from which on sweeps gained nothing; None if they did."""
    accepted, windows = [report.accepted for report in iteration.reports], _windows(iteration)
    return 0 if gained_nothing(accepted, windows) else slow_from(accepted, windows)


def _windows(iteration: WindowIteration) -> list[int]:
    """Return the steps in the window of each sweep."""
    settings = iteration.settings
    return [min(settings.interval * report.slots, settings.steps - report.first) for report in iteration.reports]


def window_size(method: WindowMethod, jacobian: str, executor: Executor) -> Size:
    """Return the rule for the slots of a window: "auto" has no more than the executor has threads, if it has several.

    On one thread a window gains only if a call for many states is cheaper, so it may be as long as `work` allows.
    """
    threads = sum(executor.threads)
    return choose_size(
        method.window, jacobian, threads if threads > 1 and jacobian == "identity" else None, method.work
    )


def _check_window(window: int | str, size: Size, saved: SavedWindow) -> None:
    """Check that the solver's window is the one that the solve began with; "auto" allows any."""
    if window != "auto" and size != saved.size:
        before = saved.size.first if isinstance(saved.size, Fixed) else "auto"
        raise CheckpointUnusable(
            f"window={window}, but the checkpoint {saved.path} was saved with window={before!r}, which a resumed solve "
            'keeps: give that window, or "auto" for the checkpoint\'s; or start a new solve in another directory'
        )


def _weights(iteration: WindowIteration, executor: Executor, w0: InitialState, run: str) -> da.Array:
    pieces = [(piece, rows) for piece, rows in iteration.pieces if rows]
    return executor.keep(stacked(pieces, w0, f"weights-{run}"))


def _result(
    iteration: WindowIteration,
    ended: WindowEnd,
    ask: WindowRequest,
    begin: float,
    weights: da.Array | None,
    losses: list[float],
    remark: str,
    amplification: Amplification | None,
) -> Result:
    reports: list[SweepReport] = iteration.reports
    settings = iteration.settings
    phi_seconds = sum(record.phi_seconds for record in iteration.records)
    return Result(
        weights=weights,
        final=ended.final,
        residuals=[*(report.residual for report in reports), ended.residual],
        iterations=len(reports),
        converged=ended.reason == "tol",
        reason=ended.reason,
        message=ended.message,
        tol=ask.tol,
        levels=[settings.steps],
        cycle="sweep",
        phi_evaluations=[sum(report.evaluations for report in reports)],
        critical_path=sum(report.depth for report in reports),
        tasks=iteration.tasks,
        timings={
            "total": time.perf_counter() - begin,
            "setup": iteration.began - begin,
            "cycles": iteration.sweep_seconds,
            "phi": [phi_seconds],
        },
        records=iteration.records,
        losses=losses,
        method="parallel Newton",
        accepted=[report.accepted for report in reports],
        windows=_windows(iteration),
        strict_path=sum(report.depth + report.scan_depth for report in reports),
        error=ended.error,
        remark=remark or on_failures(iteration.failures) or on_apart(iteration.apart, iteration.missing),
        amplification=amplification,
    )
