"""Gradients over windows of fine steps, against plain loops."""

import re

import numpy as np
import pytest

from daskmgrit.coarse import (
    window_steps,
)
from daskmgrit.models import Averaged, CappedRate, ConstantRate, GradientDescent, Repeat, Serial, Window
from daskmgrit.problems import adder, digits, xor


def test_window_steps():
    for coarsening, level, width in ((2, 3, 8), (4, 2, 16), ((4, 2), 3, 16), (3, 0, 1)):
        steps = window_steps(np.array([0, 5]), level, coarsening)
        assert steps.tolist() == [list(range(width)), list(range(5 * width, 6 * width))]
    few = window_steps(np.arange(7), 6, 2, size=10)
    assert few.shape == (7, 10)
    for row, steps in enumerate(few):
        # One from each of ten equal parts of the window.
        assert np.array_equal((steps - 64 * row) * 10 // 64, np.arange(10))


def test_a_sample_repeats_no_step():
    for width in (8, 64, 256):
        for size in range(1, width + 1):
            steps = window_steps(np.array([0]), width.bit_length() - 1, 2, size)[0]
            assert len(set(steps)) == size
            assert (steps[0], steps.min(), steps.max() < width) == (0, 0, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"coarsening": 0}, "coarsening=0"),
        ({"coarsening": ()}, "coarsening=()"),
        ({"size": 0}, "size=0"),
        ({"period": 0}, "period=0"),
    ],
)
def test_bad_window_steps(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        window_steps(np.array([0]), 2, **arguments)


@pytest.mark.parametrize("period", [4, 5, 8, 50])
@pytest.mark.parametrize("level", [8, 10, 13])
def test_a_sampled_window_sees_every_part_of_the_data(period, level):
    """No remainder of the step's number is left out, whatever the step from one sampled place to the next."""
    size = 128
    seen = window_steps(np.array([3]), level, 2, size)[0] % period
    parts = min(period, 8)
    counts = np.bincount(seen * parts // period, minlength=parts)
    assert counts.min() > 0.6 * size / parts
    assert counts.max() < 1.5 * size / parts


@pytest.mark.parametrize("level", [9, 11, 15])
def test_a_sample_of_a_round_is_of_distinct_examples(level):
    window = Window(Serial(500), 2, size=128)
    for row in window(np.array([0, 1, 2]), level):
        assert len(set(row)) == 128
        assert np.bincount(row // 50).min() >= 10


@pytest.mark.parametrize("rule", [Serial(12), Serial(12, batch=2), Repeat(12), Repeat(12, batch=3)])
def test_a_window_of_whole_rounds_sees_each_example_alike(rule):
    window = Window(rule, 2, size=30)
    for level in (5, 6, 7):
        seen = window(np.array([0, 1, 5]), level)
        assert seen.shape[1] == rule.period * rule.batch <= 30 * rule.batch
        for row in seen:
            assert len(set(np.bincount(row, minlength=12))) == 1
    assert rule.period == next(
        n for n in range(1, 30) if np.array_equal(rule(np.arange(60), 0), rule(np.arange(60) + n, 0))
    )


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(("rule", "batch"), [(Serial, 1), (Serial, 3), (Repeat, 1), (Repeat, 2)])
@pytest.mark.parametrize("make", [adder, digits])
def test_window_gradient_is_the_mean_of_the_fine_steps_gradients(make, rule, batch, size):
    problem = make()
    fine = rule(30, batch, offset=1)
    x, y = problem.x[:30], problem.y[:30]
    phi = GradientDescent(problem.model, x, y, CappedRate(0.01, 100.0, (2, 3)), Window(fine, (2, 3), size))
    one = GradientDescent(problem.model, x, y, ConstantRate(0.01), fine)
    states, index = np.stack([problem.w0, 0.9 * problem.w0]), np.array([2, 7])
    for level, width in ((0, 1), (1, 2), (2, 6), (3, 18)):
        moved = phi(states, index, level) - states
        steps = window_steps(index, level, (2, 3), size, fine.period)
        wanted = np.mean([one(states, steps[:, j], 0) - states for j in range(steps.shape[1])], axis=0)
        np.testing.assert_allclose(moved, width * wanted, rtol=1e-9, atol=1e-12)


def test_window_of_whole_rounds_is_the_batch_gradient():
    problem = xor()
    batch = problem.propagator("1", 0.01, 100.0)
    window = problem.propagator("2", 0.04, 400.0, data="window")
    w, index = problem.w0[None], np.array([3])
    # Four examples in a row: their mean, at four times the rate, is the sum that batch descent takes.
    np.testing.assert_allclose(window(w, index, 4), batch(w, index, 4), rtol=1e-12)


def test_remark_1_rules_follow_the_coarsening_factors():
    problem, index = adder(examples=50), np.array([0, 1])
    injected = problem.propagator("2", coarsening=[4, 2], data="injected").data
    assert [injected(index, level).ravel().tolist() for level in range(3)] == [[0, 1], [0, 4], [0, 8]]
    averaged = problem.propagator("2", coarsening=4, data="averaged").data
    assert isinstance(averaged, Averaged)
    assert averaged(index, 1).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("solver", "arguments", "words"),
    [
        ("1", {"data": "window"}, "data=window has no effect with solver='1'"),
        ("4", {"window": 8}, "window=8 has no effect with solver='4'"),
        ("naive", {"coarse": "chebyshev"}, "coarse=chebyshev has no effect with solver='naive'"),
        ("1", {"coarse": "x"}, "coarse='x' is not known"),
    ],
)
def test_options_without_effect_are_refused(solver, arguments, words):
    with pytest.raises(ValueError, match=words):
        xor().propagator(solver, **arguments)


def test_bad_data_options():
    with pytest.raises(ValueError, match="data='all' is not known: give one of step, window, injected, averaged"):
        adder().propagator("2", data="all")
    with pytest.raises(ValueError, match="window=8 has no effect with data='step': leave it out"):
        adder().propagator("2", window=8)
    with pytest.raises(ValueError, match="window=0 is not an integer of at least 1"):
        adder().propagator("4", window=0)
