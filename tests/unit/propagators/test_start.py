"""Training that continues from a later step: two solves of a half each are one of the whole."""

import pickle

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import AllExamples
from daskmgrit.problems import digits
from daskmgrit.recurrence.split_propagator import is_split

pytestmark = pytest.mark.usefixtures("synchronous")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 5))
Y = X @ np.arange(1.0, 6.0)
W0 = np.zeros(5)


def scheduled(weights, index):
    """Least squares on mini-batches, at a rate that decreases: both depend on the number of the step."""
    rows = (8 * index[:, None] + np.arange(8)) % 96
    errors = (X[rows] * weights[:, None]).sum(axis=2) - Y[rows]
    rate = 0.02 * 0.99**index
    return weights - rate[:, None] * (errors[:, :, None] * X[rows]).mean(axis=1)


class Momentum:
    """A state with its velocity; gradient and update apart."""

    def gradient(self, states, index):
        return states[:, :5] - scheduled(states[:, :5], index)

    def advance(self, states, gradient, index):
        velocity = 0.9 * states[:, 5:] - 0.5 * gradient
        return np.concatenate([states[:, :5] + velocity, velocity], axis=1)

    def __call__(self, states, index, level):
        return self.advance(states, self.gradient(states, index), index)


def one_by_one(w, i, level):
    return scheduled(w[None], np.array([i * 2**level]))[0]


LOOPS = {
    "function": (dm.from_function(scheduled, vectorized=True, cap=4), W0),
    "one state": (dm.vectorize(one_by_one), W0),
    "plain": (lambda weights, index, level: scheduled(weights, index * 2**level), W0),
    "apart": (Momentum(), np.zeros(10)),
    "batches": (digits().propagator("2"), digits().w0),
    "adam": (digits().optimizer("adam", batch=32), digits().optimizer("adam").w0),
}


@pytest.mark.parametrize("first", [37, 64])
@pytest.mark.parametrize(("phi", "w0"), LOOPS.values(), ids=LOOPS)
def test_two_solves_are_one(phi, w0, first):
    serial, rest = dm.train_serially(phi, w0, 128), 128 - first
    assert np.array_equal(dm.train_serially(dm.start_at(phi, first), serial[first], rest), serial[first:])
    # A run that starts again, instead, ends elsewhere.
    assert not np.allclose(dm.train_serially(phi, serial[first], rest)[-1], serial[-1], rtol=1e-6)
    half = dm.ParallelNewton(phi, first, window=4).solve(w0, tol=0)
    found = dm.ParallelNewton(dm.start_at(phi, first), rest, window=4).solve(half.final, tol=0)
    assert np.array_equal(found.final, serial[-1])


@pytest.mark.parametrize("first", [37, 64])
@pytest.mark.parametrize("name", ["function", "plain", "batches"])
def test_two_solves_by_mgrit_are_one(name, first):
    phi, w0 = LOOPS[name]
    half = dm.MGRIT(phi, first).solve(w0, "constant")
    rest = dm.MGRIT(dm.start_at(phi, first), 128 - first).solve(half.final, "constant")
    assert rest.converged
    assert np.abs(rest.final - dm.train_serially(phi, w0, 128)[-1]).max() < 1e-6


class Seen:
    """Keeps the steps that it is asked for, on each level."""

    def __init__(self):
        self.steps = {}

    def __call__(self, weights, index, level):
        self.steps.setdefault(level, set()).update(index.tolist())
        return 0.9 ** (2**level) * weights


@pytest.mark.parametrize("coarsening", [2, 4, [4, 2]])
def test_levels_see_the_steps_of_the_whole_run(coarsening):
    phi, length = Seen(), dm.StepLength(coarsening)
    dm.MGRIT(dm.start_at(phi, 64, coarsening), 64, coarsening=coarsening).solve(W0 + 1)
    for level, steps in phi.steps.items():
        assert steps <= set(range(64 // length(level), 128 // length(level)))
    assert phi.steps[0] == set(range(64, 128))
    assert len(phi.steps) > 2


@pytest.mark.parametrize(("phi", "w0"), LOOPS.values(), ids=LOOPS)
def test_it_keeps_the_contract_and_what_phi_has(phi, w0):
    made = dm.start_at(phi, 64)
    assert is_split(made) is is_split(phi)
    assert getattr(made, "pure", False) == getattr(phi, "pure", False)
    assert getattr(made, "state_size", None) == getattr(phi, "state_size", None)
    assert not hasattr(made, "w0")
    if not isinstance(phi, type(lambda: None)):
        again = pickle.loads(pickle.dumps(made)) if not isinstance(phi, dm.vectorize) else made
        assert np.array_equal(again(w0[None] + 1, np.array([3]), 0), phi(w0[None] + 1, np.array([67]), 0))
    assert dm.check_propagator(made, w0 + 0.1).ok


def test_it_is_made_for_the_solver_s_coarsening():
    phi = dm.from_function(scheduled, vectorized=True, cap=4)
    made = dm.start_at(phi, 64).with_coarsening(4)
    assert (made.first, made.step_length, made.phi.length) == (64, dm.StepLength(4, 4), dm.StepLength(4, 4))
    dm.MGRIT(made, 64, coarsening=4)
    with pytest.raises(ValueError, match="phi was made for coarsening=2"):
        dm.MGRIT(dm.start_at(phi, 64), 64, coarsening=4)
    with pytest.raises(ValueError, match="phi was made for coarsening=2"):
        dm.MGRIT(dm.start_at(Seen(), 64), 64, coarsening=4)
    assert dm.start_at(Seen(), 64).with_coarsening is None


@pytest.mark.parametrize("name", ["1", "2", "3", "4"])
@pytest.mark.parametrize("coarsening", [2, 4, [4, 2]])
def test_it_knows_the_coarsening_of_gradient_descent(name, coarsening):
    phi = digits().propagator(name, coarsening=coarsening)
    made = dm.start_at(phi, 64)
    assert [made.step_length(level) for level in range(4)] == [dm.StepLength(coarsening)(level) for level in range(4)]
    result = dm.MGRIT(made, 64, coarsening=coarsening).solve(dm.train_serially(phi, digits().w0, 64)[-1])
    assert np.allclose(result.final, dm.train_serially(phi, digits().w0, 128)[-1], atol=1e-6)


def test_a_rate_that_is_the_same_on_all_levels_tells_nothing():
    phi = digits().propagator("naive")
    assert phi.coarsening is None
    assert dm.start_at(phi, 64, coarsening=4).step_length == dm.StepLength(4)


def test_starts_add_up():
    phi = Seen()
    made = dm.start_at(dm.start_at(phi, 37), 27)
    assert (made.first, made.phi) == (64, phi)


def test_a_checkpoint_is_of_one_start(tmp_path):
    phi, w0 = LOOPS["batches"]
    made = dm.start_at(phi, 64)
    dm.ParallelNewton(made, 64, window=4).solve(w0, checkpoint=tmp_path)
    assert dm.ParallelNewton(dm.start_at(phi, 64), 64, window=4).resume(tmp_path).converged
    with pytest.raises(dm.CheckpointError, match="from step 64"):
        dm.ParallelNewton(dm.start_at(phi, 32), 64, window=4).resume(tmp_path)


def test_a_recurrence_without_schedule_is_the_same_from_any_step():
    phi = digits().propagator("1")
    assert isinstance(phi.data, AllExamples)
    w = digits().w0
    assert np.array_equal(dm.start_at(phi, 9)(w[None], np.zeros(1, int), 0), phi(w[None], np.zeros(1, int), 0))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((1.0, 3), TypeError, "not callable"),
        ((lambda w: w, 3), dm.PropagatorError, "from_function"),
        ((Seen(), -1), ValueError, "first=-1"),
        ((Seen(), 1.5), ValueError, r"first=1\.5"),
        ((Seen(), 1, 1), ValueError, "coarsening=1"),
        ((dm.from_function(scheduled, vectorized=True), 1, 4), ValueError, "with_coarsening"),
    ],
)
def test_arguments_that_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        dm.start_at(*arguments)
    with pytest.raises(AttributeError, match="starts at step 3"):
        _ = dm.start_at(LOOPS["adam"][0], 3).w0
