"""A window's slots on threads: on as many as was quickest, each as soon as its state is known."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from daskmgrit import train_serially
from daskmgrit.graph import thread_habit
from daskmgrit.graph.thread_habit import Habit
from daskmgrit.graph.window_tasks import final, start, sweeps
from daskmgrit.graph.window_threads import WindowThreads
from daskmgrit.newton.evaluate import merged
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import Fixed
from daskmgrit.problems import PROBLEMS


def waiting(number, slots):
    """Return the time of an evaluation in which each step waits for 4 ms."""
    return 0.004 * -(-slots // number)


def holding(number, slots):
    """Return that of steps of microseconds: threads take turns."""
    return 1e-4 * number + 1e-6 * slots


def two_cores(number, slots):
    """Return that of steps that two cores compute."""
    return 1e-3 * slots / min(number, 2) + 1e-4 * number


def choices(evaluations, seconds, slots=16, most=16, late=()):
    """Return the number of threads of each evaluation, where evaluations take so long, and those in `late` longer."""
    habit, found = Habit(), []
    for each in range(evaluations):
        number = habit.threads(slots, most)
        found.append(number)
        habit.note(number, seconds(number, slots) + 10 * (each in late), slots)
    return found


@pytest.mark.parametrize(("seconds", "best"), [(waiting, 16), (holding, 1), (two_cores, 2)])
@pytest.mark.parametrize("late", [(), (0,), (1,), (2,), (5,), (30, 50), (16, 33)])
def test_the_quickest_number_is_kept_whatever_comes_in_between(seconds, best, late):
    lost = [seconds(number, 16) / seconds(best, 16) - 1 for number in choices(400, seconds, late=late)]
    assert sum(lost[200:]) <= 0.03 * 200
    assert sum(lost) <= 0.4 * 400


def test_trials_of_a_slower_number_take_a_small_part_of_the_time():
    found = choices(2000, waiting)
    extra = sum(waiting(number, 16) - 0.004 for number in found)
    assert 0 < extra <= 0.015 * 2000 * 0.004


def test_a_phi_that_takes_long_is_not_tried_on_fewer_threads_at_once():
    found = choices(400, lambda number, slots: 0.05 * -(-slots // number))
    assert found[:99] == 99 * [16]
    assert found.count(8) <= 4
    assert set(found) == {8, 16}


def test_a_change_is_learnt():
    habit, found = Habit(), []
    for each in range(600):
        number = habit.threads(16, 16)
        found.append(number)
        habit.note(number, (waiting if each >= 100 else holding)(number, 16), 16)
    assert found[50:100].count(1) >= 49
    assert found[300:].count(16) > 290


def test_no_more_threads_than_slots_even_if_their_number_changes():
    habit = Habit()
    for slots in (3, 16, 2, 5, 16, 16, 16, 1, 16):
        number = habit.threads(slots, min(8, slots))
        assert 1 <= number <= min(8, slots)
        habit.note(number, waiting(number, slots), slots)
    assert habit.threads(16, 8) == 8


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_rows_are_those_of_one_call(threads):
    phi = lambda weights, index, level: weights * (index + 2.0)[:, None]  # noqa: E731
    states, begins, lengths = np.arange(14.0).reshape(7, 2), np.arange(7), np.array([2, 2, 2, 1, 1, 1, 1])
    expected = states * (begins + 2.0)[:, None]
    expected[:3] *= (begins[:3] + 3.0)[:, None]
    for _ in range(4):
        workers = WindowThreads(phi, threads, f"rows {threads}")
        (made,) = merged(workers.take(states, begins, lengths))
        assert np.array_equal(made.images, expected)
        assert sum(record.evaluations for record in workers.records) == 10
        assert [record.first for record in workers.records] == sorted({record.first for record in workers.records})


class Waits:
    """A step that, for the last slot of the first window, waits until the second sweep has begun."""

    def __init__(self):
        self.second, self.seen, self.waited = threading.Event(), set(), []

    def __call__(self, weights, index, level):
        return 0.5 * weights + self.gradient(weights, index)

    def gradient(self, weights, index):
        for step in index.tolist():
            if step in self.seen:
                self.second.set()
            elif step == 3:
                self.waited.append(self.second.wait(10))
            self.seen.add(step)
        return 0.01 * np.sin(weights)


class WaitsApart(Waits):
    def advance(self, state, gradient, index):
        return 0.5 * state + gradient


@pytest.mark.parametrize("phi", [Waits(), WaitsApart()])
def test_a_slot_begins_while_later_ones_of_the_sweep_before_are_computed(phi):
    method = NewtonSettings(12, 0.0, size=Fixed(4))
    share = sweeps(phi, method, start(phi, np.ones(3), method), 1000, 4, f"ahead {type(phi)}", False)
    assert phi.waited
    assert all(phi.waited)
    assert np.array_equal(final(share), train_serially(phi, np.ones(3), 12)[-1])


@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("apart", [False, True])
def test_nothing_is_evaluated_in_vain(count, apart):
    digits = PROBLEMS["digits"]().optimizer("adam", batch=8)
    phi = digits if apart else lambda weights, index, level: digits(weights, index, level)
    method = NewtonSettings(40, 1e-6, size=Fixed(6))
    expected = solve_in_one_process(phi, digits.w0, method)
    carrier, reports, records = start(phi, digits.w0, method), [], []
    while not carrier.over(40):
        share = sweeps(phi, method, carrier, count, 6, f"vain {count} {apart}", False)
        carrier = share.carrier
        reports += share.reports
        records += share.records
    assert reports == expected.sweeps
    assert sum(record.evaluations for record in records) == expected.phi_evaluations
    assert {record.cycle for record in records} == set(range(1, len(reports) + 1))
    assert np.array_equal(final(carrier), expected.final)


def test_an_error_of_a_step_that_was_evaluated_ahead():
    seen = set()

    def phi(weights, index, level):
        if 2 in index and 2 in seen:
            raise RuntimeError("broken")
        seen.update(index.tolist())
        return 0.5 * np.cos(weights)

    method = NewtonSettings(12, 0.0, size=Fixed(4))
    with pytest.raises(RuntimeError, match="broken") as raised:
        sweeps(phi, method, start(phi, np.ones(3), method), 1000, 4, "broken", False)
    # As a guess it did without step 2; this is the sweep that accepts the state before it.
    assert "step 2, sweep 3" in raised.value.__notes__[0]


@pytest.mark.parametrize("window", [4, 16])
def test_times_of_windows_that_overlap_are_counted_once(window, monkeypatch):
    """From one window's end to the next one's: together they are no longer than the solve."""
    digits, noted = PROBLEMS["digits"]().optimizer("adam", batch=8), []
    monkeypatch.setattr(Habit, "note", lambda self, number, seconds, slots: noted.append(seconds))
    method = NewtonSettings(60, 1e-6, size=Fixed(window))
    carrier = start(digits, digits.w0, method)
    clock = time.perf_counter()
    share = sweeps(digits, method, carrier, 1000, window, f"once {window}", False)
    assert sum(noted) <= time.perf_counter() - clock
    # The first window has none before it, and one slot has no choice of threads.
    assert len(noted) == sum(report.slots > 1 for report in share.reports[1:])


def test_a_trial_ends_before_the_next_one_begins():
    """Also where the number for a window is asked before the time of the one before it is known."""
    habit, found = Habit(), []
    asked = [habit.threads(16, 16)]
    for _ in range(300):
        asked.append(habit.threads(16, 16))
        number = asked.pop(0)
        found.append(number)
        habit.note(number, waiting(number, 16), 16)
    trials = [each for each, number in enumerate(found) if number == 8]
    assert len(trials) > 1
    assert all(later - earlier > 10 for earlier, later in itertools.pairwise(trials))


def test_one_call_is_tried_where_windows_overlap(monkeypatch):
    digits, noted = PROBLEMS["digits"]().optimizer("adam", batch=8), []
    note = Habit.note
    monkeypatch.setattr(Habit, "note", lambda self, number, *rest: noted.append(number) or note(self, number, *rest))
    # Whatever Phi takes, one thread is tried at once.
    monkeypatch.setattr(thread_habit, "SHORT", 1e9)
    method = NewtonSettings(200, 1e-6, size=Fixed(4))
    sweeps(digits, method, start(digits, digits.w0, method), 1000, 2, "one call", False)
    assert set(noted) == {1, 2}


@pytest.mark.parametrize("threads", [1, 4])
def test_where_training_diverges_every_evaluation_is_counted(threads):
    def phi(weights, index, level):
        return np.where((index == 5)[:, None], np.nan, 0.5 * np.cos(weights))

    method = NewtonSettings(12, 0.0, size=Fixed(4))
    share = sweeps(phi, method, start(phi, np.ones(3), method), 1000, threads, f"diverges {threads}", False)
    assert share.carrier.diverged.step == 5
    slots = [record.evaluations for record in share.records]
    # The last sweep has no report.
    last = {record.cycle for record in share.records} - set(range(1, len(share.reports) + 1))
    assert last == {len(share.reports) + 1}
    assert sum(slots) == sum(report.evaluations for report in share.reports) + 4


def test_two_solves_at_once_have_their_own_threads():
    together = threading.Barrier(6)

    def phi(weights, index, level):
        together.wait(20)
        return weights + 1

    def evaluated(number):
        workers = WindowThreads(phi, 3, f"at once {number}")
        try:
            return merged(workers.take(np.ones((3, 2)), np.arange(3), np.ones(3, int)))[0].images
        finally:
            workers.close()

    with ThreadPoolExecutor(2) as pool:
        for images in pool.map(evaluated, range(2)):
            assert np.array_equal(images, np.full((3, 2), 2.0))


def test_an_update_that_fails_while_slots_are_evaluated():
    class Phi:
        def __call__(self, weights, index, level):
            return self.advance(weights, self.gradient(weights, index), index)

        def gradient(self, weights, index):
            return 0.01 * np.sin(weights)

        def advance(self, state, gradient, index):
            if index[0] == 3:
                raise RuntimeError("broken")
            return 0.5 * state + gradient

    phi, method = Phi(), NewtonSettings(12, 0.0, size=Fixed(6))
    for _ in range(2):  # the threads are free again
        with pytest.raises(RuntimeError, match="broken"):
            sweeps(phi, method, start(phi, np.ones(3), method), 1000, 6, "an update fails", False)
