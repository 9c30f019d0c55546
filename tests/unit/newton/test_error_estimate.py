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


@pytest.mark.parametrize("optimizer", ["descent", "momentum", "adam"])
def test_training(optimizer):
    phi, w0 = training(2, optimizer, 0.02)
    solved = solve_in_one_process(phi, w0, NewtonSettings(200, 1e-6, size=choose_size(8, "identity")))
    error = np.linalg.norm(solved.final - train_serially(phi, w0, 200)[-1])
    assert error / 10 <= solved.error <= 100 * error


def test_no_error_without_residual():
    phi, w0 = training(2, "adam", 0.02)
    solved = solve_in_one_process(phi, w0, NewtonSettings(60, 0.0, size=choose_size(8, "identity")))
    assert (solved.residual, solved.error) == (0.0, 0.0)
