"""How many threads evaluate a window's slots: as many as was quickest."""

import numpy as np
import pytest

from daskmgrit.graph.window_threads import _Habit, evaluate_on_threads
from daskmgrit.recurrence.meter import Meter


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
    habit, found = _Habit(), []
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
    habit, found = _Habit(), []
    for each in range(600):
        number = habit.threads(16, 16)
        found.append(number)
        habit.note(number, (waiting if each >= 100 else holding)(number, 16), 16)
    assert found[50:100].count(1) >= 49
    assert found[300:].count(16) > 290


def test_no_more_threads_than_slots_even_if_their_number_changes():
    habit = _Habit()
    for slots in (3, 16, 2, 5, 16, 16, 16, 1, 16):
        number = habit.threads(slots, min(8, slots))
        assert 1 <= number <= min(8, slots)
        habit.note(number, waiting(number, slots), slots)
    assert habit.threads(16, 8) == 8


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_rows_are_those_of_one_call(threads):
    meter = Meter(lambda weights, index, level: weights * (index + 2.0)[:, None], 1)
    states, begins, lengths = np.arange(14.0).reshape(7, 2), np.arange(7), np.array([2, 2, 2, 1, 1, 1, 1])
    expected = states * (begins + 2.0)[:, None]
    expected[:3] *= (begins[:3] + 3.0)[:, None]
    for _ in range(4):
        made, records = evaluate_on_threads(meter, states, begins, lengths, threads, f"rows {threads}")
        assert np.array_equal(made.images, expected)
        assert sum(record.evaluations for record in records) == 10
        assert [record.first for record in records] == sorted({record.first for record in records})
