"""Counts on the package's problems, with room for rounding: small cases of ``python -m benchmarks newton-counts``."""

import numpy as np
import pytest

from daskmgrit import train_serially
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size, whole_run
from daskmgrit.problems import adder, digits, xor


@pytest.mark.parametrize("seed", [1, 2])
def test_all_jacobians_of_xor(seed):
    """N over sweeps grows with N: late in training a sweep accepts hundreds of steps."""
    problem = xor(seed)
    phi, sweeps = problem.propagator("1"), {}
    for steps in (400, 1600):
        tol = 1e-9 * steps**0.5
        solved = solve_in_one_process(phi, problem.w0, NewtonSettings(steps, tol, "full", choose_size("auto", "full")))
        sweeps[steps] = len(solved.sweeps)
        assert solved.residual <= tol
    assert sweeps[1600] <= 25
    assert sweeps[1600] - sweeps[400] <= 12
    np.testing.assert_allclose(solved.final, train_serially(phi, problem.w0, 1600)[-1], atol=1e-5)


@pytest.mark.parametrize(("optimizer", "least"), [("adam", 2.5), ("momentum", 2.5), ("nesterov", 2.5), (None, 1.6)])
def test_a_window_of_eight_on_digits(optimizer, least):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[digits]'")
    problem = digits()
    phi = problem.propagator("2") if optimizer is None else problem.optimizer(optimizer)
    w0 = problem.w0 if optimizer is None else phi.w0
    steps, tol = 120, 1e-6 * 120**0.5
    sweeps = [
        len(solve_in_one_process(phi, w0, NewtonSettings(steps, tol, size=choose_size(window, "identity"))).sweeps)
        for window in (1, 4, 8)
    ]
    assert sweeps[0] == steps
    assert sweeps[1] < steps / 1.3
    assert sweeps[2] < steps / least


def test_low_rank_on_digits():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[digits]'")
    problem = digits()
    phi, steps = problem.propagator("2"), 150
    sweeps = {}
    for jacobian in ("identity", "lowrank"):
        method = NewtonSettings(steps, 1e-9 * steps**0.5, jacobian, choose_size(128, jacobian), rank=16, samples=8)
        sweeps[jacobian] = len(solve_in_one_process(phi, problem.w0, method).sweeps)
    assert sweeps["lowrank"] < 0.8 * sweeps["identity"]


@pytest.mark.parametrize(
    ("options", "most"), [({"interval": 4, "jacobian": "identity"}, 14), ({"rank": 4, "groups": 4}, 14)]
)
def test_the_whole_run_of_the_adder(options, most):
    problem = adder()
    phi, steps = problem.propagator("2"), 200
    method = whole_run(steps, 1e-9 * steps**0.5, **options)
    solved = solve_in_one_process(phi, problem.w0, method)
    assert len(solved.sweeps) <= most
    assert solved.critical_path < steps / 2
    np.testing.assert_allclose(solved.final, train_serially(phi, problem.w0, steps)[-1], atol=1e-6)
