"""The trial of a Phi before a solve: what it finds, what it lets pass, and that it counts nowhere."""

import time

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.recurrence.trial import states_near, try_phi

X = np.random.default_rng(0).normal(size=(40, 3))
TARGETS = X @ np.ones(3)
W0 = np.linspace(0.1, 0.3, 3)
METHODS = [dm.MGRIT, dm.ParallelNewton]

pytestmark = pytest.mark.usefixtures("synchronous")


def clipped_together(weights, index, level):
    gradient = (weights @ X.T - TARGETS) @ X / 40
    return weights - 0.05 * gradient / max(1.0, np.linalg.norm(gradient))


def clipped_apart(weights, index, level):
    gradient = (weights @ X.T - TARGETS) @ X / 40
    return weights - 0.05 * gradient / np.maximum(1.0, np.linalg.norm(gradient, axis=1, keepdims=True))


def random_numbers(weights, index, level):
    return 0.95 * weights + 0.01 * np.random.default_rng().normal(size=weights.shape)


def one_by_matrix(w, i, level):
    return w - 0.1 * X.T @ (X @ w - TARGETS) / 40


def one_by_branch(w, i, level):
    return (0.9 if i > 10 else 0.8) * w


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("phi", "words"), [(clipped_together, "in a block of"), (random_numbers, "different results")])
def test_rows_that_are_not_independent_and_results_that_do_not_repeat(method, phi, words, caplog):
    result = method(phi, 256).solve(W0)
    assert [words in record.message for record in caplog.records] == [True]
    assert words in result.remark
    # The advice repeats it at the end, also where only the number of sweeps tells that something is wrong.
    assert words in result.advice
    assert words in str(result)


def by_first_row(weights, index, level):
    return weights - 0.1 * np.sin(weights[0])


def by_last_row(weights, index, level):
    return weights - 0.1 * np.sin(weights[-1])


def first_row_only(weights, index, level):
    new = weights.copy()
    new[0] -= 0.1 * np.sin(weights[0])
    return new


def seeded_by_block(weights, index, level):
    return 0.9 * weights + 0.01 * np.random.default_rng(index).normal(size=weights.shape)


def norm_of_all(weights, index, level):
    return weights - 0.01 * weights / np.linalg.norm(weights)


@pytest.mark.parametrize("phi", [by_first_row, by_last_row, first_row_only, seeded_by_block, norm_of_all])
@pytest.mark.parametrize("steps", [2, 64, 1000])
def test_what_is_for_one_state_but_takes_a_block(phi, steps):
    remark = try_phi(phi, W0, steps).remark
    assert "in a block of" in remark
    assert "daskmgrit.from_function(f)" in remark


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_said_of_a_phi_that_keeps_its_contract(method, caplog):
    result = method(clipped_apart, 256).solve(W0)
    assert result.converged
    assert not result.remark
    assert not caplog.records


@pytest.mark.parametrize("method", METHODS)
def test_rows_that_are_not_independent_are_found_where_the_initial_state_is_zero(method):
    """Parallel Newton converges nevertheless, to something else than serial training gives."""

    def phi(weights, index, level):
        gradient = (weights @ X.T - TARGETS) @ X / 40
        return weights - 0.05 * gradient - 0.01 * weights.mean(axis=0)

    result = method(phi, 64).solve(np.zeros(3))
    assert "in a block of" in result.remark
    assert "in a block of" in result.advice
    assert not dm.check_propagator(phi, np.zeros(3), raises=False).ok


@pytest.mark.parametrize("state", [np.ones(3), np.zeros(3), np.array([0.0, -2.0, 1.0]), np.zeros(3, np.float32)])
def test_states_near_one_are_all_different_and_of_its_kind(state):
    found = states_near(state, 5)
    assert found.dtype == state.dtype
    assert np.array_equal(found[0], state)
    assert len(np.unique(found, axis=0)) == 5
    # Second moments of an optimizer are not negative.
    assert (found[:, state == 0] >= 0).all()
    assert np.abs(found - state).max() <= 0.02 * max(1, np.abs(state).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phi", [one_by_matrix, one_by_branch])
def test_a_phi_for_one_state(method, phi):
    with pytest.raises(dm.PropagatorError, match="phi is for one state") as caught:
        method(phi, 64).solve(W0)
    words = str(caught.value)
    assert "weights (k, 3)" in words
    assert "daskmgrit.vectorize(phi)" in words
    assert "daskmgrit.from_function(f)" in words
    # The remedy is one.
    assert method(dm.vectorize(phi), 64).solve(W0).converged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phi", [lambda w: w, lambda w, i: w, lambda weights, index, level, rate: weights])
def test_a_phi_with_other_arguments(method, phi):
    with pytest.raises(dm.PropagatorError, match=r"called as phi\(weights, index, level\).*from_function"):
        method(phi, 64)


class Descent:
    def __init__(self, X, y, rate):
        self.rate = rate

    def __call__(self, weights, index, level):
        return weights * self.rate


@pytest.mark.parametrize(
    "make", [*(lambda phi, method=method: method(phi, 64) for method in METHODS), lambda phi: dm.start_at(phi, 3)]
)
def test_a_class_in_place_of_an_instance(make):
    """Its constructor takes three arguments, so only its result would show that it is no phi."""
    with pytest.raises(dm.PropagatorError, match="phi=Descent is a class: give an instance"):
        make(Descent)
    make(Descent(None, None, 0.9))


def test_serial_training_refuses_other_arguments_by_itself():
    with pytest.raises(dm.PropagatorError, match=r"takes \(w, i\).*from_function"):
        dm.train_serially(lambda w, i: w, W0, 3)


@pytest.mark.parametrize("phi", [np.add, lambda *arguments: arguments[0], lambda weights, index, level=0: weights])
def test_arguments_that_may_do(phi):
    dm.MGRIT(phi, 64)


def test_an_error_of_its_own_stays_that():
    def phi(weights, index, level):
        if (index == 3).any():
            raise KeyError("step 3")
        return weights

    # It fails for the state of step 3 alone, too: that is no matter of one state or many.
    with pytest.raises(KeyError, match="step 3") as caught:
        dm.MGRIT(phi, 512).solve(W0)
    assert any("weights of shape" in note for note in caught.value.__notes__)


def test_an_error_at_the_initial_state_is_raised_at_once():
    """As what it is, so that a cluster may try the task again."""
    calls = []

    def phi(weights, index, level):
        calls.append(len(weights))
        raise ConnectionError("no data")

    with pytest.raises(ConnectionError, match="no data") as caught:
        dm.MGRIT(phi, 512).solve(W0)
    assert any("weights of shape (1, 3)" in note for note in caught.value.__notes__)
    assert len(calls) == 2


def test_a_breach_of_the_contract_is_told_at_once():
    calls = []

    def phi(weights, index, level):
        calls.append(len(weights))
        return weights[:, :1]

    with pytest.raises(dm.PropagatorError, match="phi returned shape"):
        dm.MGRIT(phi, 1000).solve(W0)
    assert sum(calls) < 10


class Called:
    """Keeps the sizes of the blocks that it is given."""

    def __init__(self, pure=False):
        self.pure, self.blocks = pure, []

    def __call__(self, weights, index, level):
        self.blocks.append(len(weights))
        return 0.9 ** (2**level) * weights


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_is_cheap_and_counts_nowhere(method):
    tried, pure = Called(), Called(pure=True)
    first, second = method(tried, 640).solve(W0), method(pure, 640).solve(W0)
    assert (first.phi_evaluations, first.critical_path, first.tasks) == (
        second.phi_evaluations,
        second.critical_path,
        second.tasks,
    )
    assert first.residuals == second.residuals
    assert len(first.records) == len(second.records)
    assert sum(pure.blocks) == sum(second.phi_evaluations)
    extra = sum(tried.blocks) - sum(pure.blocks)
    assert 0 < extra <= 640 / 50


def test_a_phi_that_takes_long_is_called_no_further(monkeypatch):
    monkeypatch.setattr("daskmgrit.recurrence.trial.SECONDS", -1.0)
    # What takes long may have compiled; what takes very long is not called again to see.
    for compiled, blocks in ((60.0, [1, 1]), (-1.0, [1])):
        monkeypatch.setattr("daskmgrit.recurrence.trial.COMPILED", compiled)
        phi = Called()
        assert try_phi(phi, W0, 1000) == try_phi(clipped_apart, W0, 1000)
        assert phi.blocks == blocks


def test_a_phi_that_compiles_at_its_first_call_is_tried(monkeypatch):
    monkeypatch.setattr("daskmgrit.recurrence.trial.SECONDS", 0.1)
    monkeypatch.setattr("daskmgrit.recurrence.trial.COMPILED", 60.0)
    calls = []

    def phi(weights, index, level):
        time.sleep(0.0 if calls else 0.2)
        calls.append(1)
        return by_first_row(weights, index, level)

    assert "in a block of" in try_phi(phi, W0, 1000).remark


def test_rounding_is_no_difference():
    def phi(weights, index, level):
        return weights * (1 + 4e-16 * (len(weights) > 1))

    assert not try_phi(phi, W0, 1000).remark


def test_what_is_not_finite_is_left_to_the_solve():
    assert not try_phi(lambda weights, index, level: weights * np.inf, W0, 1000).remark


def test_a_resumed_solve_is_not_tried(tmp_path):
    blocks = []
    for pure in (False, True):
        dm.MGRIT(Called(), 64).solve(W0, maxiter=1, tol=0, checkpoint=tmp_path / str(pure))
        phi = Called(pure)
        dm.MGRIT(phi, 64).resume(tmp_path / str(pure), maxiter=2)
        blocks.append(phi.blocks)
    assert blocks[0] == blocks[1]


class Parts:
    """Gradient descent with its two parts, which counts the states that it is given."""

    def __init__(self, mixes=False, other=False):
        self.mixes, self.other, self.rows = mixes, other, 0

    def gradient(self, weights, index):
        self.rows += len(weights)
        return np.sin(weights) + (weights.mean(axis=0) if self.mixes else 0.0)

    def advance(self, state, gradient, index):
        return state - 0.1 * gradient

    def __call__(self, weights, index, level):
        return self.advance(weights, self.gradient(weights, index), index) - (0.1 if self.other else 0.0)


def test_parts_are_tried_in_place_of_the_whole():
    """One state, a block and another state: each evaluation of them costs a step of the solve."""
    phi = Parts()
    found = try_phi(phi, W0, 256, parts=True)
    assert not found.error
    assert not found.remark
    assert phi.rows == 1 + 4 + 1


@pytest.mark.parametrize("mixes", [False, True])
def test_parts_that_are_not_the_step(mixes):
    found = try_phi(Parts(mixes, other=True), W0, 256, parts=True)
    assert "is not phi(weights, index, 0)" in found.error


def test_an_error_of_a_part_is_left_to_the_solve():
    """It is not one of a phi for one state: the whole takes a block."""

    class Broken(Parts):
        def gradient(self, weights, index):
            raise OSError("the disk is gone")

        def __call__(self, weights, index, level):
            return weights - 0.1 * np.sin(weights)

    assert try_phi(Broken(), W0, 256, parts=True).error == ""
    with pytest.raises(OSError, match="the disk is gone"):
        dm.ParallelNewton(Broken(), 64, window=4).solve(W0)


def test_parts_whose_rows_are_not_independent():
    assert "in a block of" in try_phi(Parts(mixes=True), W0, 256, parts=True).remark
