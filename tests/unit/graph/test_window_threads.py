"""Whether a window's slots are evaluated on threads or in one call: what was quicker."""

import pytest

from daskmgrit.graph.window_threads import _Habit


def choices(evaluations, apart, together, slots=16, late=()):
    """Return whether each evaluation is on threads, where the two ways take so long, and those in `late` longer."""
    habit, found = _Habit(), []
    for number in range(evaluations):
        on_threads = habit.on_threads()
        found.append(on_threads)
        habit.note(on_threads, (apart if on_threads else together) + 10 * (number in late), slots)
    return found


@pytest.mark.parametrize(("apart", "together"), [(0.004, 0.064), (0.001, 0.0001)])
@pytest.mark.parametrize("late", [(), (0,), (1,), (2,), (5,), (30, 50), (16, 33)])
def test_the_quicker_way_is_kept_whatever_comes_in_between(apart, together, late):
    found = choices(400, apart, together, late=late)
    quicker = apart < together
    assert found.count(not quicker) <= 20
    assert found[-60:].count(not quicker) <= 1


def test_a_phi_that_takes_long_is_never_called_for_all_slots_at_once():
    assert all(choices(400, 0.05, 0.8))


def test_a_first_evaluation_that_takes_long_decides_nothing():
    assert choices(100, 0.001, 0.0001, late=(0,)).count(True) <= 6


def test_a_change_is_learnt():
    habit, found = _Habit(), []
    for number in range(600):
        on_threads = habit.on_threads()
        found.append(on_threads)
        threads_help = number >= 100
        habit.note(on_threads, 0.001 if on_threads == threads_help else 0.01, 16)
    assert not any(found[20:32])
    assert sum(found[500:]) > 90
