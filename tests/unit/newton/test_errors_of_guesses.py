"""Phi may raise errors for guesses: only those that serial training meets are those of the solve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskmgrit import MGRIT, ParallelNewton, PropagatorError, train_serially
from daskmgrit.newton import evaluate as evaluate_module
from daskmgrit.newton.evaluate import Arriving, evaluate, merged
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import JACOBIANS, NewtonSettings, choose_size
from daskmgrit.newton.sweep import sweep
from daskmgrit.recurrence.meter import Meter
from tests.unit.newton.test_ahead import InParts, first
from tests.unit.newton.test_iteration import residual, training

STEPS = 40


class Near:
    """A Phi that is defined only near the states of serial training."""

    def __init__(self, phi, serial, radius):
        self.phi, self.serial, self.radius = phi, serial, radius
        self.calls = 0

    def check(self, states):
        self.calls += 1
        for state in states:
            if not np.linalg.norm(self.serial - state, axis=1).min() <= self.radius:
                raise FloatingPointError("far off")

    def __call__(self, weights, index, level):
        self.check(weights)
        return self.phi(weights, index, level)


class NearSplit(Near):
    """The same for one with gradient and update apart."""

    def gradient(self, weights, index):
        self.check(weights)
        return self.phi.gradient(weights, index)

    def advance(self, state, gradient, index):
        return self.phi.advance(state, gradient, index)


def near(seed, optimizer, radius):
    phi, w0 = training(seed, optimizer, 0.05)
    return (Near if optimizer == "descent" else NearSplit)(phi, train_serially(phi, w0, STEPS), radius), w0


@given(
    seed=st.integers(0, 10**6),
    optimizer=st.sampled_from(["descent", "adam", "momentum"]),
    jacobian=st.sampled_from(JACOBIANS),
    window=st.integers(1, 12),
    interval=st.integers(1, 3),
    cuts=st.sets(st.integers(1, 11), max_size=6),
    radius=st.sampled_from([1e-4, 1e-2, 0.1]),
    tol=st.sampled_from([0.0, 1e-6]),
    large=st.sampled_from([0, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_the_result_of_serial_training(seed, optimizer, jacobian, window, interval, cuts, radius, tol, large):
    phi, w0 = near(seed, optimizer, radius)
    method = NewtonSettings(STEPS, tol, jacobian, choose_size(window, jacobian), interval=interval, rank=2)
    solved = solve_in_one_process(phi, w0, method, keep=True)
    assert len(solved.sweeps) <= STEPS
    if not tol:
        assert np.array_equal(solved.final, phi.serial[-1])
    elif interval == 1:
        assert residual(phi.phi, solved.weights) <= tol * (1 + 1e-9)
    # The bits do not depend on how slots are dealt out, and so on which of them fail together.
    parts, now, curvature = InParts(phi, sorted(cuts)), first(phi, w0, method), None
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "LARGE", large)
        while now.first < STEPS:
            now, curvature, _, report, _ = sweep(Meter(phi, 1), now, method, curvature, parts.take, parts).report()
            reports.append(report)
    assert repr(reports) == repr(solved.sweeps)  # the residual may be nan
    assert np.array_equal(now.states[0], solved.final)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("optimizer", ["descent", "adam"])
def test_what_failed_is_told(optimizer, caplog):
    phi, w0 = near(3, optimizer, 1e-3)
    result = ParallelNewton(phi, STEPS, window=8).solve(w0, tol=1e-6)
    assert result.converged
    assert "phi raised an error for" in result.advice
    assert "FloatingPointError: far off" in result.advice
    assert "FloatingPointError: far off" in caplog.text
    whole = ParallelNewton(phi.phi, STEPS, window=8).solve(w0, tol=1e-6)
    assert not whole.advice
    assert whole.iterations <= result.iterations
    with pytest.raises(FloatingPointError):
        MGRIT(phi, STEPS).solve(w0)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("jacobian", JACOBIANS)
@pytest.mark.parametrize("step", [0, 1, 17])
def test_an_error_of_serial_training_is_that_of_the_solve(step, jacobian):
    def phi(weights, index, level):
        if (index == step).any():
            raise LookupError("no such batch")
        return 0.9 * weights + 0.1

    with pytest.raises(LookupError, match="no such batch") as caught:
        ParallelNewton(phi, STEPS, window=6, jacobian=jacobian).solve(np.zeros(2))
    assert f"raised by phi at step {step}" in caught.value.__notes__[0]


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("error", [MemoryError, PropagatorError])
def test_errors_that_are_not_of_the_guess(error):
    """Too little memory, or a breach of the contract, is that of the solve for any state."""

    def phi(weights, index, level):
        if (weights < 0).any():
            raise error("here")
        return np.where(index[:, None] % 2 == 0, weights - 0.3, 0.1 * weights + 0.4)

    assert (train_serially(phi, np.full(2, 0.5), STEPS) > 0).all()
    with pytest.raises(error, match="here"):
        ParallelNewton(phi, STEPS, window=6).solve(np.full(2, 0.5))


def test_runs_of_which_all_or_some_slots_failed():
    phi, w0 = training(2, "adam", 0.05)
    good = np.stack([w0, w0 + 0.01, w0 + 0.02])
    phi = NearSplit(phi, good, 1e-9)
    states = np.stack([good[0], w0 + 9, good[1], w0 + 8, w0 + 7, good[2]])
    begins, ones = np.arange(6), np.ones(6, int)
    whole = evaluate(Meter(phi, 1), states, begins, ones)
    assert [row for row, _ in whole.errors] == [1, 3, 4]
    assert phi.calls == 7
    runs = [evaluate(Meter(phi, 1), states[lo:hi], begins[lo:hi], ones[lo:hi]) for lo, hi in ((0, 3), (3, 5), (5, 6))]
    assert [run.failed for run in runs] == [False, True, False]
    (joined,) = merged(runs)
    assert [row for row, _ in joined.errors] == [1, 3, 4]
    assert np.array_equal(joined.gradients[0], whole.gradients[0], equal_nan=True)
    assert np.isnan(whole.gradients[0]).all(axis=1).tolist() == [False, True, False, True, True, False]
    found = Arriving(iter(runs), phi, states, begins)
    assert [slots for slots, _ in found.gradients(0)] == [slice(0, 3)]
    assert np.isnan(found.all().images).all(axis=1).tolist() == [False, True, False, True, True, False]
    assert sorted(found.errors()) == [1, 3, 4]
