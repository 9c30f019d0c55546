"""States whose squares overflow or underflow: the same solve as at an ordinary magnitude, to the bit."""

import logging
import math

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.newton.acceptance import is_exact
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import Fixed

# Powers of two: they scale without rounding. Squares lose bits from about 2**-480 down, and overflow at 2**512.
MAGNITUDES = [-560, -500, 511, 530, 900]
N = 64


def linear(weights, index, level):
    return weights - min(0.05 * 2**level, 0.5) * weights


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("guess", ["zero", "nested"])
@pytest.mark.parametrize("how", [{"chunks": 1}, {"chunks": 5}, {"storage": "c-points"}])
def test_mgrit(magnitude, guess, how, w0):
    solver, tol = dm.MGRIT(linear, N, coarsening=4), 1e-6
    plain = solver.solve(w0, guess, tol=tol, **how)
    scaled = solver.solve(np.ldexp(w0, magnitude), guess, tol=math.ldexp(tol, magnitude), **how)
    assert plain.converged
    assert plain.iterations > 1
    assert scaled.residuals == [math.ldexp(residual, magnitude) for residual in plain.residuals]
    assert scaled.reason == "tol"
    assert np.array_equal(scaled.final, np.ldexp(plain.final, magnitude))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("jacobian", ["identity", "lowrank"])
def test_newton(magnitude, dtype, jacobian, w0):
    if dtype == "complex128" and jacobian == "lowrank":
        pytest.skip("a basis is of real numbers")
    w0, scale, tol = (w0 * (1 + (1j if dtype == "complex128" else 0))).astype(dtype), 2.0**magnitude, 1e-6
    settings = {"jacobian": jacobian, "size": Fixed(8), "rank": 3}
    plain = solve_in_one_process(linear, w0, NewtonSettings(N, tol, **settings))
    scaled = solve_in_one_process(linear, w0 * scale, NewtonSettings(N, tol * scale, **settings))
    serial = dm.train_serially(linear, w0, N)[-1]
    assert np.linalg.norm(scaled.final / scale - serial) <= N * tol
    assert scaled.residual <= tol * scale
    # A tolerance whose square is zero gives the bits of serial training.
    if jacobian == "identity" and not is_exact(tol * scale):
        assert scaled.residual == plain.residual * scale
        assert [r._replace(residual=r.residual * scale) for r in plain.sweeps] == scaled.sweeps
        assert scaled.error == plain.error * scale


@pytest.mark.usefixtures("synchronous")
def test_newton_with_a_tolerance_beyond_the_states(w0):
    result = dm.ParallelNewton(linear, N, window=8).solve(w0 * 1e160, tol=1e150, keep="all")
    serial = dm.train_serially(linear, w0 * 1e160, N)
    assert np.abs(result.weights.compute() - serial).max() <= N * 1e150
    assert result.residuals[-1] <= 1e150 < max(result.residuals)
    assert all(map(math.isfinite, result.residuals))


@pytest.mark.usefixtures("synchronous")
def test_sweeps_of_an_exact_solve_tell_their_residual(w0):
    result = dm.ParallelNewton(linear, N, window=8).solve(w0, tol=0)
    assert all(map(math.isfinite, result.residuals))
    assert result.residuals[0] > 0
    assert result.residuals[-1] == 0


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
def test_a_norm_beyond_the_largest_number(solver, caplog):
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        solver(linear, 8).solve(np.full(5, 1e308))
    assert caplog.messages[0] == "the 2-norm of w0 is beyond the range of float64: scale the states"
    assert "inf*" not in "".join(caplog.messages)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
def test_the_tolerance_that_is_advised_is_a_number(solver, w0, caplog):
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        result = solver(linear, 8).solve(w0 * 1e160)
    advised = float(caplog.messages[0].rpartition("such as ")[2].removesuffix("*sqrt(N)"))
    assert 1e145 < advised < 1e147
    assert solver(linear, 8).solve(w0 * 1e160, tol=advised * 8**0.5).converged
    assert result.reason in ("tol", "maxiter")


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
@pytest.mark.parametrize(
    ("scale", "dtype", "words"),
    [
        (1e-170, "float64", "norm of w0 is 3e-170, and the default tolerance is 1e-09*sqrt(N)"),
        (1e-170, "float64", "Give tol, such as 3e-179*sqrt(N)"),
        (1e-305, "float64", "Scale the states"),
        (1e-7, "float32", "Give tol, such as 3e-12*sqrt(N)"),
        (1.0, "float64", None),
        (0.0, "float64", None),
    ],
)
def test_states_below_the_default_tolerance(solver, scale, dtype, words, caplog):
    """They would pass for converged without a word."""
    w0 = np.full(9, scale, dtype)
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        solver(linear, 8).solve(w0)
    assert any(words in message for message in caplog.messages) if words else not caplog.messages
    caplog.clear()
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        solver(linear, 8).solve(w0, tol=1e-9)
    assert not caplog.messages
