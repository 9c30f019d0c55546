"""The estimate of the largest stable rate."""

import math

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import (
    estimate_max_rate,
    stabilise,
)
from daskmgrit.models import MLP
from daskmgrit.problems import adder, xor

# -- any phi that takes a rate -----------------------------------------------------------------------------------------


# -- the estimate of alpha_max -----------------------------------------------------------------------------------------


def quadratic(curvature):
    return lambda weights, index, level, rate: weights - rate * weights * np.array(curvature)


def test_estimate_on_a_quadratic():
    # A negative eigenvalue of larger modulus is not in the way.
    for curvature in ([0.1, 1.0, 4.0], [-9.0, 0.5, 4.0, 3.9]):
        found = estimate_max_rate(quadratic(curvature), np.ones(len(curvature)), 0.01, steps=0)
        assert found.eigenvalue == pytest.approx(4, rel=1e-3)
        assert found.max_rate == pytest.approx(0.8 * 2 / 4, rel=1e-3)
        assert found.settled
    assert "safety" in str(found)
    assert estimate_max_rate(quadratic([-1.0, -2.0]), np.ones(2), 0.01, steps=0).max_rate == math.inf


def test_estimate_against_the_hessian():
    problem = xor()
    phi = problem.propagator("1")
    found = estimate_max_rate(phi.at_rate, problem.w0, 1.0, steps=30, states=4)
    states, step = dm.train_serially(phi, problem.w0, 30)[found.steps], 1e-5
    largest = []
    for state in states:
        rows = np.concatenate((state + step * np.eye(16), state - step * np.eye(16)))
        gradient = problem.model.gradient(rows, problem.x, problem.y)
        hessian = (gradient[:16] - gradient[16:]) / (2 * step)
        largest.append(np.linalg.eigvalsh((hessian + hessian.T) / 2).max())
    assert found.steps == [0, 10, 20, 30]
    np.testing.assert_allclose(found.eigenvalues, largest, rtol=0.02)
    assert found.eigenvalue == max(found.eigenvalues)


def test_estimate_takes_few_phi_in_blocks():
    calls = []

    def counted(weights, index, level, rate):
        calls.append(len(weights))
        return quadratic([0.1, 1.0, 4.0])(weights, index, level, rate)

    found = estimate_max_rate(counted, np.ones(3), 0.1, steps=20, states=5)
    assert calls == [1] * 20 + [10] * found.iterations
    assert found.phi_evaluations == sum(calls)


def test_windows_allow_a_larger_rate():
    problem = adder(examples=60)
    phi = problem.propagator("4")
    noisy, calm = (estimate_max_rate(phi.at_rate, problem.w0, 0.025, steps=16, level=level) for level in (0, 6))
    assert calm.max_rate > 2 * noisy.max_rate


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate": -1}, "rate=-1 is out of range"),
        ({"steps": -1}, "steps=-1"),
        ({"states": 0}, "states=0"),
        ({"safety": 1.5}, "safety=1.5"),
        ({"rate": 1e300, "steps": 8}, r"returned nan or inf on level 0 at rate=1e\+300"),
    ],
)
def test_bad_estimate(arguments, words):
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=words):
        estimate_max_rate(quadratic([1.0, 2.0]), np.ones(2), **({"rate": 0.1} | arguments))
    with pytest.raises(TypeError, match="phi_of_rate=3 is not callable"):
        estimate_max_rate(3, np.ones(2), 0.1)
    with pytest.raises(TypeError, match=r"takes \(weights, index, level\), not 4 arguments: give phi_of_rate\("):
        estimate_max_rate(lambda weights, index, level: weights, np.ones(2), 0.1)


def test_estimate_holds_phi_to_its_contract():
    def in_place(weights, index, level, rate):
        weights -= rate * weights
        return weights

    with pytest.raises(dm.PropagatorError, match="wrote to its input"):
        dm.estimate_max_rate(in_place, np.ones(3), 0.1)
    with pytest.raises(dm.PropagatorError, match="returned NoneType"):
        dm.estimate_max_rate(lambda *_: None, np.ones(3), 0.1)
    with pytest.raises(ValueError, match=r"max_rate=inf: no positive curvature"):
        stabilise(quadratic([1.0]), 1.0, dm.estimate_max_rate(lambda w, i, level, a: w + 0, np.ones(3), 0.1).max_rate)


def test_estimate_is_public():
    assert dm.estimate_max_rate is estimate_max_rate
    assert dm.coarse.stabilise is stabilise
    assert MLP([2, 1]).reduction == "sum"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_estimate_in_any_precision(dtype):
    curvatures = np.array([0.5, 1.0, 4.0], dtype)

    def descend(weights, index, level, rate):
        return weights - weights.dtype.type(rate) * weights * curvatures

    assert dm.estimate_max_rate(descend, np.ones(3, dtype), rate=0.1).eigenvalue == pytest.approx(4, rel=0.02)


def test_nan_in_the_data_is_not_the_fault_of_the_rate():
    def descend(weights, index, level, rate):
        return np.where(index[:, None] == 3, np.nan, weights - rate * weights)

    with pytest.raises(
        ValueError, match=r"nan or inf on level 0, step 3, for weights that are finite .* check the data"
    ):
        dm.estimate_max_rate(descend, np.ones(3), rate=0.1)


def test_the_bound_that_is_told_is_that_of_weights_that_have_not_grown(caplog):
    """The curvature of w**4/4 - w**2/2 grows with the weights, which diverge."""

    def descend(weights, index, level, rate):
        return weights - rate * (weights**3 - weights)

    found = dm.estimate_max_rate(descend, np.full(2, 2.5), rate=0.9, steps=2, states=3)
    told = float(caplog.records[-1].getMessage().rsplit("= ", 1)[1])
    assert told == pytest.approx(2 / (3 * 2.5**2 - 1), rel=0.02)
    assert found.max_rate < 1e-3 * told
