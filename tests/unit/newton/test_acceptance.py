"""Which prefix a sweep accepts, and that the sum of squared residuals stays within the tolerance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskmgrit.newton.acceptance import accept, is_exact
from daskmgrit.newton.evaluate import residual_squares


@pytest.mark.parametrize(
    ("squares", "accepted"),
    [
        ([9.0, 0.0, 0.0], 1),
        ([0.0, 9.0, 0.0], 2),
        ([0.0, 0.0, 9.0], 3),
        ([0.0, 0.0, 0.0], 3),
        ([np.nan, 0.0, 0.0], 1),
        ([0.0, np.inf, 0.0], 2),
        ([5.0], 1),
    ],
)
@pytest.mark.parametrize("tol", [0.0, 1.0])
def test_up_to_and_including_the_first_that_is_off(squares, accepted, tol):
    assert accept(np.array(squares), 0.0, np.arange(1, len(squares) + 1), 10, tol) == (accepted, 0.0)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60), st.integers(1, 9), st.floats(0, 3))
def test_the_tolerance_is_kept(squares, window, tol):
    squares = np.array(squares)
    steps, first, spent, accepted = len(squares), 0, 0.0, 0.0
    while first < steps:
        ends = np.arange(first + 1, min(first + window, steps) + 1)
        count, spent = accept(squares[first : first + window], spent, ends, steps, tol)
        assert 1 <= count <= len(ends)
        accepted += squares[first : first + count - 1].sum()
        first += count
        assert spent == pytest.approx(accepted)
        assert spent <= tol * tol * first / steps


def test_what_is_left_of_the_tolerance_may_be_spent_later():
    tol, ends = 1.0, np.arange(1, 5)
    assert accept(np.array([0.0, 0.0, 0.06, 9.0]), 0.0, ends, 100, tol) == (3, 0.0)
    assert accept(np.array([0.0, 0.0, 0.06, 9.0]), 0.0, 50 + ends, 100, tol) == (4, 0.06)


def test_zero_means_equal():
    states = np.array([[1.0, 2.0], [1e-200, 0.0], [np.nan, 0.0]])
    images = np.array([[1.0, 2.0], [2e-200, 0.0], [np.nan, 0.0]])
    assert residual_squares(images, states)[:2].tolist() == [0.0, 0.0]
    assert residual_squares(images, states, exactly=True).tolist() == [0.0, np.inf, np.inf]
    assert is_exact(0.0)
    assert is_exact(1e-170)
    assert not is_exact(1e-150)
