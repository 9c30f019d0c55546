"""The estimated error of the final state against the true one."""

import numpy as np
import pytest

from daskmgrit import train_serially
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size
from tests.unit.newton.test_iteration import training


@pytest.mark.parametrize("growth", [0.9, 1.0, 1.05])
def test_growth_of_a_linear_recurrence(growth):
    """Errors grow by the same factor each step, a hundredfold and more, or are forgotten."""

    def phi(weights, index, level):
        return growth * weights + 0.01 * np.sin(index + 1)[:, None]

    w0, steps = np.ones(5), 120
    solved = solve_in_one_process(phi, w0, NewtonSettings(steps, 1e-7, size=choose_size(8, "identity")))
    error = np.linalg.norm(solved.final - train_serially(phi, w0, steps)[-1])
    assert error > 0
    assert error / 3 <= solved.error <= 3 * error
    if growth > 1:
        assert solved.error > 10 * solved.residual


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(("seed", "rate"), [(2, 0.02), (2, 0.1), (16, 0.1), (19, 0.3), (23, 0.1)])
@pytest.mark.parametrize("optimizer", ["descent", "momentum", "nesterov", "adam", "adamw"])
def test_training(optimizer, seed, rate, opaque):
    """Errors turn away from the directions in which moves grow, so that the rate of moves tells too much."""
    phi, w0 = training(seed, optimizer, rate)
    step = (lambda weights, index, level: phi(weights, index, level)) if opaque else phi
    for steps, tol in ((15, 1e-6), (200, 1e-6), (200, 1e-8)):
        solved = solve_in_one_process(step, w0, NewtonSettings(steps, tol, size=choose_size(8, "identity")))
        error = np.linalg.norm(solved.final - train_serially(phi, w0, steps)[-1])
        assert error / 30 <= solved.error <= 30 * error + 1e-12


def lorenz(weights, index, level):
    a, b, c = weights.T
    return weights + 0.01 * np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_chaos_with_all_jacobians(seed):
    """Errors grow a hundredfold along a direction in which no sweep moves states."""
    w0 = np.array([1.0, 1.0, 20.0]) + np.random.default_rng(seed).standard_normal(3)
    solved = solve_in_one_process(lorenz, w0, NewtonSettings(700, 1e-9, "full", size=choose_size(8, "full")))
    error = np.linalg.norm(solved.final - train_serially(lorenz, w0, 700)[-1])
    assert error > 10 * solved.residual
    assert error / 30 <= solved.error <= 30 * error


def test_no_error_without_residual():
    phi, w0 = training(2, "adam", 0.02)
    solved = solve_in_one_process(phi, w0, NewtonSettings(60, 0.0, size=choose_size(8, "identity")))
    assert (solved.residual, solved.error) == (0.0, 0.0)
