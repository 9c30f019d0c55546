"""What the page hears and keeps of a parallel Newton solve: few rows, bounded, by the scheduler's clock."""

import math

import pytest

from daskmgrit.dashboard import window_run
from daskmgrit.dashboard.events import TaskName
from daskmgrit.dashboard.history import History, Run
from daskmgrit.dashboard.labels import headline, how_to_read, label
from daskmgrit.dashboard.run import RESIDUALS
from daskmgrit.dashboard.window_events import MOST, describe_window, sweep_rows
from daskmgrit.dashboard.window_plots import WindowPlot
from daskmgrit.dashboard.window_run import WindowRun
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sweep import SweepReport
from daskmgrit.recurrence.meter import Record
from tests.support.recurrences import Decay

SETTINGS = NewtonSettings(100, 1e-6)


def report(first, accepted, slots=8):
    return SweepReport(first, slots, accepted, 0.5, 1, 3, slots)


def record(sweep, start, seconds=1.0, process=1):
    return Record("window", 0, sweep, 0, start, seconds, 0.25 * seconds, 1, 4, process)


def window_run_of(threads=(1,), first=0, **options):
    settings = NewtonSettings(**{"steps": 100, "tol": 1e-6} | options)
    return WindowRun(describe_window("0a", "c", Decay(), settings, threads, first), 0.0)


def told(rows, residual=1e-9):
    return {"sweeps": [list(row) for row in rows], "accepted_residual": residual}


def test_a_row_for_each_sweep():
    records = [record(5, 10.0), record(5, 90.0, 3.0, process=2), record(6, 14.0), record(6, 15.5)]
    first, second = sweep_rows([report(0, 2), report(95, 5)], 5, records, SETTINGS)
    # The clock of one process counts; the other took longer.
    assert (first.start, first.stop) == (10.0, 13.0)
    assert (second.start, second.stop) == (14.0, 16.5)
    assert (first.sweep, first.first, first.last, first.accepted) == (5, 0, 8, 2)
    assert (second.sweep, second.first, second.last) == (6, 95, 100)
    assert first.phi == 1.0
    assert sweep_rows([], 1, [], SETTINGS) == []


def test_quick_sweeps_are_told_together():
    reports = [report(2 * number, 2) for number in range(1000)]
    rows = sweep_rows(reports, 1, [record(sweep, float(sweep)) for sweep in range(1, 1001)], NewtonSettings(2000, 0.0))
    assert len(rows) <= MOST
    assert sum(row.sweeps for row in rows) == 1000
    assert sum(row.accepted for row in rows) == 2000
    assert sum(row.phi for row in rows) == pytest.approx(250)
    assert rows[-1].sweep == 1000
    assert rows[0].start == 1.0
    assert rows[-1].stop == 1001.0


def test_steps_of_a_slot():
    [row] = sweep_rows([report(90, 2, slots=4)], 1, [], NewtonSettings(100, 0.0, interval=2))
    assert (row.last, row.slots, row.steps) == (98, 4, 8)
    assert math.isnan(row.start)


def test_where_the_time_went():
    run = window_run_of(threads=(2, 1))
    run.task(TaskName("sweeps", 0, 1, 1, 0), "a", 100.0, 101.0, 0.5)
    run.task(TaskName("sweeps", 0, 1, 1, 1), "b", 100.0, 102.0, 0.0)
    run.task(TaskName("tell", 0, 2, 2, 0), "a", 102.0, 102.5, 0.0)
    run.hear(told(sweep_rows([report(0, 2)], 1, [record(1, 7.0, 4.0)], SETTINGS)))
    # Three threads for two seconds: one waited for one second less what its transfers took.
    assert run.shares() == [("sweeps", (1.0, 3.0, 0.5, 1.5)), ("others", (0.0, 0.5, 0.0, 0.0))]
    assert run.busy == 4.5
    # By the scheduler's clock the first sweep began with the first task.
    assert (run.rows[0].start, run.rows[0].stop) == (100.0, 104.0)


def test_memory_is_bounded_on_a_long_run(monkeypatch):
    monkeypatch.setattr(window_run, "POINTS", 50)
    run = window_run_of(steps=10**6)
    count = 2 * window_run.SWEEPS
    for number in range(count):
        run.task(TaskName("sweeps", 0, number, number, 0), "a", number, number + 1, 0.0)
        run.hear(told(sweep_rows([report(number, 1 + number % 2)], number + 1, [record(number + 1, number)], SETTINGS)))
    assert len(run.rows) == window_run.SWEEPS
    assert len(run.residuals) == len(run.accepted_residuals) == RESIDUALS
    assert (run.count, run.swept, run.sweeps) == (count, count, count)
    assert [row.sweep for row in run.new_rows(count - 3)] == [count - 2, count - 1, count]
    assert len(list(run.new_rows(0))) == window_run.SWEEPS
    assert len(run.thinned()) <= 50
    assert sum(map(len, run.thinned())) == window_run.SWEEPS
    assert run.shown_residuals()[-1] == (count, 0.5)
    plot = WindowPlot()
    plot.window.active = 1
    plot.show(run)
    assert plot.plot.title.text.endswith(f", only the last {window_run.SWEEPS} of {count} bars")


def test_words():
    run = window_run_of()
    assert "step 0 of 100" in headline(run)
    assert "parallel Newton, N = 100, running" in label(run)
    run.hear(told(sweep_rows([report(0, 2), report(2, 1)], 1, [], SETTINGS)))
    for words in ("step 3 of 100 (3%) after 2 sweeps", "1.50 steps accepted per sweep", "window of 8 slots"):
        assert words in headline(run)
    run.end("tol", "", 5.0)
    assert "converged" in headline(run)
    exact = window_run_of(tol=0.0)
    exact.hear(told(sweep_rows([report(0, 2)], 1, [], SETTINGS), 0.0))
    assert "bits of serial training" in headline(exact)
    assert "sweep" in how_to_read([WindowRun])
    assert "sweep" not in how_to_read([Run])


def test_a_resumed_run_counts_its_own_sweeps():
    run = window_run_of(first=40)
    assert math.isnan(run.mean)
    run.hear(told(sweep_rows([report(40, 3)], 21, [], SETTINGS)))
    assert (run.sweeps, run.swept, run.mean, run.first) == (21, 1, 3.0, 43)


def test_newest_of_a_method():
    history = History()
    assert history.newest() is None
    newton = window_run_of()
    history.add(newton)
    newton.end("tol", "", 1.0)
    about = {"run": "0b", "steps": [8, 4]}
    history.add(Run(about, 0.0))
    assert history.newest(WindowRun) is newton
    assert history.newest().about is about
