"""Blocks of other array libraries pass through the iteration as they are, and end with the serial loop's result."""

import numpy as np
import pytest

from daskmgrit import ParallelNewton, train_serially
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import JACOBIANS, NewtonSettings, choose_size, whole_run
from daskmgrit.utils.array_api import namespace
from tests.support.libraries import library

W0 = np.linspace(0.5, 2.0, 6)
N = 24


class Descent:
    """Gradient descent towards points that move with the step; it sees that blocks are of its own library."""

    def __init__(self, xp):
        self.xp = xp

    def __call__(self, weights, index, level):
        assert namespace(weights) is namespace(self.xp.asarray(W0))
        return weights - 0.1 * self.xp.sin(weights + self.xp.asarray(0.01 * index)[:, None])


class Momentum:
    """The same with momentum, gradient and update apart."""

    def __init__(self, xp):
        self.xp = xp

    def gradient(self, weights, index):
        return self.xp.sin(weights[:, :3] + self.xp.asarray(0.01 * index)[:, None])

    def advance(self, state, gradient, index):
        velocity = 0.5 * state[:, 3:] + 0.1 * gradient
        return self.xp.concat([state[:, :3] - velocity, velocity], axis=1)

    def __call__(self, weights, index, level):
        return self.advance(weights, self.gradient(weights, index), index)


@pytest.mark.parametrize("name", ["strict", "torch", "jax"])
@pytest.mark.parametrize("jacobian", [*JACOBIANS, "recurrence"])
def test_bits_of_the_serial_loop(name, jacobian):
    xp = library(name)
    phi = Momentum(namespace(xp.asarray(W0))) if jacobian == "recurrence" else Descent(namespace(xp.asarray(W0)))
    method = "identity" if jacobian == "recurrence" else jacobian
    # JAX compiles each operation for each shape.
    steps, slots = (10, 3) if name == "jax" else (N, 6)
    serial = train_serially(phi, xp.asarray(W0), steps)
    exact, near = (
        solve_in_one_process(
            phi, xp.asarray(W0), NewtonSettings(steps, tol, method, choose_size(slots, method), rank=2), keep=True
        )
        for tol in (0.0, 1e-4)
    )
    assert np.array_equal(exact.weights, serial)
    assert len(near.sweeps) < len(exact.sweeps)
    np.testing.assert_allclose(near.final, serial[-1], atol=1e-3)


@pytest.mark.parametrize("name", ["strict", "torch"])
@pytest.mark.parametrize("split", [False, True])
def test_slots_of_several_steps(name, split):
    xp = library(name)
    phi = (Momentum if split else Descent)(namespace(xp.asarray(W0)))
    serial = train_serially(phi, xp.asarray(W0), N)
    solved = solve_in_one_process(
        phi, xp.asarray(W0), NewtonSettings(N, 0.0, size=choose_size(4, "identity"), interval=5)
    )
    assert np.array_equal(solved.final, serial[-1])
    if not split:
        whole = solve_in_one_process(phi, xp.asarray(W0), whole_run(N, 1e-8, rank=2, groups=3))
        np.testing.assert_allclose(whole.final, serial[-1], atol=1e-7)


@pytest.mark.parametrize("name", ["strict", "torch"])
@pytest.mark.usefixtures("synchronous")
def test_a_solve_as_a_user_has_it(name):
    xp = library(name)
    phi = Momentum(namespace(xp.asarray(W0)))
    result = ParallelNewton(phi, N, window=4).solve(xp.asarray(W0), tol=0, keep="all")
    assert np.array_equal(result.weights.compute(), train_serially(phi, xp.asarray(W0), N))


@pytest.mark.parametrize("name", ["strict", "torch"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("interval", [1, 2])
def test_errors_for_guesses(name, split, interval):
    """Rows of nan in a block of the library."""
    xp = library(name)
    phi = (Momentum if split else Descent)(namespace(xp.asarray(W0)))
    serial = train_serially(phi, xp.asarray(W0), N)
    part = "gradient" if split else "__call__"
    whole = getattr(type(phi), part)

    def picky(self, weights, index, *level):
        for row, step in zip(np.asarray(weights), index, strict=True):
            if np.linalg.norm(row - serial[step]) > 0.05:
                raise ArithmeticError("far off")
        return whole(self, weights, index, *level)

    near = type("Near", (type(phi),), {part: picky})(phi.xp)
    settings = NewtonSettings(N, 0.0, size=choose_size(6, "identity"), interval=interval)
    assert np.array_equal(solve_in_one_process(near, xp.asarray(W0), settings).final, serial[-1])
    with pytest.raises(ArithmeticError):
        near.gradient(xp.asarray(W0)[None, ...] + 1, np.zeros(1, int)) if split else near(
            xp.asarray(W0)[None, ...] + 1, np.zeros(1, int), 0
        )
