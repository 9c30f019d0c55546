"""What is advised where serial training itself diverges, or coarse steps are too long: a few steps tell."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import digits, xor
from daskmgrit.solver.examination import FEWEST, examine_levels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)) * np.logspace(0, -1, 6)
Y = X @ np.ones(6)
LARGEST = np.linalg.eigvalsh(X.T @ X / 64).max()
W0 = np.zeros(6)
pytestmark = pytest.mark.usefixtures("synchronous")


def descend(part):
    """Least squares at this part of the rate beyond which training diverges."""
    rate = 2 * part / LARGEST
    return lambda weights, index: weights - rate * (weights @ X.T - Y) @ X / 64


class Counted:
    """Counts its calls on each level."""

    def __init__(self, phi):
        self.phi, self.calls, self.pure = phi, [], True

    def __call__(self, weights, index, level):
        self.calls.append((level, len(weights)))
        return self.phi(weights, index, level)


@pytest.mark.parametrize("part", [1.1, 2.0, 100.0])
def test_serial_training_that_diverges(part):
    phi = dm.from_function(descend(part), vectorized=True)
    result = dm.MGRIT(phi, 256).solve(W0, "constant")
    assert not result.converged
    assert result.amplification.level == 0
    assert result.advice.startswith("serial training itself amplifies small changes of w0")
    assert "lower the learning rate" in str(result)
    assert "cap" not in result.advice
    # It is so: and at a rate of 0.9 of the largest it contracts.
    with np.errstate(all="ignore"):
        assert not np.linalg.norm(dm.train_serially(phi, W0, 256)[-1]) < 1e6
    result = dm.MGRIT(dm.from_function(descend(0.9), vectorized=True, cap=1), 256).solve(W0, "constant")
    assert result.amplification is None


@pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])
def test_training_of_a_network_that_oscillates(method):
    phi = digits().propagator(learning_rate=2.0, max_learning_rate=2.0)
    result = method(phi, 192).solve(digits().w0)
    assert result.amplification.level == 0
    assert "serial training itself amplifies small changes" in result.advice
    assert "ParallelNewton" not in result.advice


@pytest.mark.parametrize(("part", "cap"), [(0.2, 4), (0.4, 2)])
def test_a_cap_that_is_too_large_is_told_one_that_converges(part, cap):
    phi = dm.from_function(descend(part), vectorized=True, cap=16)
    result = dm.MGRIT(phi, 512).solve(W0, "constant")
    assert not result.converged
    assert f"a cap of coarse rates (cap={cap})" in result.advice
    # Each remedy is one.
    told = int(result.advice.split("(cap=")[1].split(")")[0])
    levels = int(result.advice.split("(max_levels=")[1].split(")")[0])
    assert dm.MGRIT(dm.from_function(descend(part), vectorized=True, cap=told), 512).solve(W0, "constant").converged
    assert dm.MGRIT(phi, 512, max_levels=levels).solve(W0, "constant").converged


@pytest.mark.parametrize(
    "phi",
    [
        dm.from_function(descend(0.05), vectorized=True, cap=1),
        lambda weights, index, level: descend(0.05)(weights, index),
    ],
    ids=["capped", "ignores level"],
)
def test_coarse_steps_that_are_fine_steps_are_told_to_be_longer(phi):
    result = dm.MGRIT(phi, 512).solve(W0, "constant", maxiter=20)
    assert not result.converged
    assert "lag behind" in result.advice
    assert "cap=" in result.advice
    assert "too long" not in result.advice
    # The remedy is one.
    longer = dm.from_function(descend(0.05), vectorized=True, cap=4)
    assert dm.MGRIT(longer, 512).solve(W0, "constant", maxiter=20).converged


def test_a_step_that_changes_nothing_is_not_told_to_be_longer():
    assert examine_levels(lambda weights, index, level: weights.copy(), np.ones(2), [64, 32], 200) is None
    assert examine_levels(lambda weights, index, level: 0.9 * weights, np.ones(2), [64, 32], 200).cause == "short"


def test_a_rate_without_room_is_not_told_to_be_lower():
    problem = xor()
    rate = problem.learning_rate
    result = dm.MGRIT(problem.propagator(learning_rate=rate, max_learning_rate=rate), 800).solve(problem.w0, maxiter=8)
    assert not result.converged
    assert result.facts.short
    assert not dm.MGRIT(problem.propagator(), 800).solve(problem.w0, maxiter=1).facts.short


def test_cycles_after_which_it_is_exact_are_not_exceeded():
    phi = dm.from_function(descend(0.05), vectorized=True, cap=1)
    result = dm.MGRIT(phi, 128).solve(W0, "constant", maxiter=8)
    assert f"maxiter={result.facts.exact} would do" in result.advice
    # It is exact then, and takes longer than serial training on any number of workers.
    result = dm.MGRIT(phi, 128).solve(W0, "constant", maxiter=result.facts.exact, tol=0)
    assert np.abs(result.final - dm.train_serially(phi, W0, 128)[-1]).max() < 1e-12
    assert result.critical_path > 128


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_precision_is_named_for_single_precision_alone(dtype):
    phi = dm.from_function(lambda w, i: descend(0.4)(w, i).astype(dtype), vectorized=True, cap=16)
    result = dm.MGRIT(phi, 512).solve(W0.astype(dtype), "constant")
    assert not result.converged
    assert ("double precision" in result.advice) is (dtype is np.float32)


def test_a_network_with_a_cap_that_is_too_large_is_told_one_that_converges():
    step = digits().propagator(learning_rate=0.3, max_learning_rate=0.3)

    def made(cap):
        return dm.from_function(lambda weights, index: step(weights, index, 0), vectorized=True, cap=cap)

    result = dm.MGRIT(made(16), 512).solve(digits().w0, "constant")
    assert not result.converged
    assert "(cap=4)" in result.advice
    assert dm.MGRIT(made(4), 512).solve(digits().w0, "constant").converged


def test_a_maximum_of_the_rate_that_is_too_large_is_told_one_that_converges():
    problem = xor()
    result = dm.MGRIT(problem.propagator(max_learning_rate=1e3), 800).solve(problem.w0, "constant")
    assert not result.converged
    rate = float(result.advice.split("(max_learning_rate=")[1].split(")")[0])
    assert dm.MGRIT(problem.propagator(max_learning_rate=rate), 800).solve(problem.w0, "constant").converged


def test_where_not_even_two_steps_at_once_are_stable_other_coarse_steps_are_named():
    phi = dm.from_function(descend(0.8), vectorized=True, cap=16)
    result = dm.MGRIT(phi, 512).solve(W0, "constant")
    assert result.amplification.level == 1
    assert "cap=" not in result.advice
    assert "max_levels" not in result.advice
    assert "stable coarse steps" in result.advice
    assert dm.ParallelNewton(phi, 512).solve(W0).converged


@pytest.mark.parametrize("cap", [1, 16, None])
def test_a_rate_that_warms_up_beyond_the_stable_bound(cap):
    """Coarse steps meet it first, because they are longer, and are not to blame."""
    rate = 2 / LARGEST * 1.2

    def warm(weights, index):
        now = rate * np.minimum(1.0, (index + 1) / 100)
        return weights - now[:, None] * ((weights @ X.T - Y) @ X / 64)

    result = dm.MGRIT(dm.from_function(warm, vectorized=True, cap=cap), 512).solve(W0, "constant")
    assert not result.converged
    assert result.amplification.level == 0
    # It is so from step 83 on; the change has turned to directions that contract, and takes a while to turn back.
    assert 64 <= result.amplification.first <= 160
    assert f"from step {result.amplification.first} on" in result.advice


def scheduled(part):
    """Descent at a part of the largest stable rate that depends on the step."""

    def step(weights, index, level):
        return weights - (2 / LARGEST * part(index))[:, None] * ((weights @ X.T - Y) @ X / 64)

    return step


@pytest.mark.parametrize(
    "part",
    [lambda index: 0.05 + 1.1 * index / 1024, lambda index: np.where(index < 900, 0.3, 1.2)],
    ids=["rising", "sudden"],
)
def test_a_late_divergence_is_named(part):
    """Steps from w0 on are as they should be; the last ones amplify."""
    result = dm.ParallelNewton(scheduled(part), 1024, window=8).solve(W0, 1e-6)
    assert result.converged
    assert result.amplification.at_end
    assert result.amplification.first > 512
    assert "serial training itself amplifies small changes of the final weights" in result.advice


def test_a_divergence_beyond_the_range_of_squares_is_named():
    phi = dm.from_function(lambda w, i: w * (0.9 if i < 100 else -3.0))
    result = dm.ParallelNewton(phi, 540, window=8).solve(np.ones(2))
    assert 1e154 < abs(result.final).max() < np.inf
    assert result.amplification.at_end
    size = float(dict(result.summary())["error of weights"].split()[1].rstrip(","))
    assert 0 < size < 1e-3 * abs(result.final).max()


@pytest.mark.parametrize("steps", [64, 100])
def test_chaos_is_named_after_few_sweeps_too(steps):
    phi = dm.from_function(lambda w, i: 3.9 * w * (1 - w), vectorized=True)
    result = dm.ParallelNewton(phi, steps, window=8).solve(np.array([0.3, 0.2]))
    assert "serial training itself amplifies small changes of w0" in result.advice


def test_a_phi_without_levels_is_named_after_few_cycles_too():
    phi = descend(0.5)
    result = dm.MGRIT(lambda weights, index, level: phi(weights, index), 512).solve(W0, maxiter=5)
    assert "a step of level 1 is one of level 0" in result.advice


def test_a_long_step_that_leaves_where_phi_is_defined_is_told_the_cap():
    phi = dm.from_function(lambda w, i: np.sqrt(w) * 0.9 + 0.01, vectorized=True)
    result = dm.MGRIT(phi, 512).solve(np.array([1.0, 2.0]))
    assert result.reason == "diverged"
    for words in ("level 2, step 1", "cap=2", "max_levels=2", "not defined"):
        assert words in result.advice
    capped = dm.from_function(phi.f, vectorized=True, cap=2)
    assert dm.MGRIT(capped, 512).solve(np.array([1.0, 2.0])).converged


def test_a_slow_divergence_is_named():
    """Half a percent beyond the stable bound."""
    result = dm.ParallelNewton(scheduled(lambda index: 1.005 + 0.0 * index), 1024, window=8).solve(W0, 1e-6)
    assert not result.amplification.at_end
    assert result.amplification.total > 1
    assert "serial training itself amplifies small changes" in result.advice


def test_later_sweeps_that_gain_nothing_are_told_with_their_step():
    """Earlier ones accept enough that all of them together gain."""
    phi = Counted(scheduled(lambda index: np.where(index < 700, 1e-3, 1.2)))
    result = dm.ParallelNewton(phi, 800, window=16).solve(W0, 1e-4)
    assert sum(result.accepted) > 2 * len(result.accepted)
    slow = int(result.advice.removeprefix("from step ").split()[0])
    assert 680 <= slow <= 720
    assert result.amplification.at_end
    # Three states at once.
    assert 0 < sum(size for _, size in phi.calls) - sum(result.phi_evaluations) <= 3 * result.critical_path // 4


@pytest.mark.parametrize("part", [lambda index: 0.9 + 0.0 * index, lambda index: 0.995 + 0.0 * index])
def test_slow_training_within_the_bound_is_not_accused(part):
    result = dm.ParallelNewton(scheduled(part), 512, window=8).solve(W0, 1e-9)
    assert result.amplification is None
    assert "amplifies" not in result.advice


def test_a_solve_that_converges_or_is_told_to_go_on_takes_no_more_phi():
    phi = Counted(dm.from_function(descend(0.2), vectorized=True, cap=4))
    for options in ({}, {"maxiter": 4}, {"tol": 0, "maxiter": 4}):
        phi.calls.clear()
        result = dm.MGRIT(phi, 256).solve(W0, "constant", **options)
        assert result.amplification is None
        assert sum(size for _, size in phi.calls) == sum(result.phi_evaluations)


@pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])
def test_an_examination_is_a_part_of_the_solve(method):
    phi = Counted(dm.from_function(descend(1.1), vectorized=True))
    result = method(phi, 512).solve(W0)
    assert result.amplification is not None
    more = sum(size for _, size in phi.calls) - sum(result.phi_evaluations)
    # Three states at once.
    assert 3 * FEWEST <= more <= 3 * result.critical_path // 5
    assert phi.calls[-more // 3 :] == [(0, 3)] * (more // 3)


def test_a_phi_that_raises_at_large_states_is_examined_no_further():
    def fails(weights, index, level):
        if np.abs(weights).max() > 1e3:
            raise ValueError("inf or nan in the input")
        return 3.0 * weights

    assert examine_levels(fails, np.ones(2), [512, 256], 200) is None


def test_nan_in_the_data_blames_no_learning_rate():
    def phi(weights, index, level):
        return weights * np.where(index == 37, np.nan, 0.9)[:, None]

    # At a state other than the initial guess, the solve itself does not tell.
    assert examine_levels(phi, np.ones(2), [128, 64], 200).cause == "nan"
    result = dm.MGRIT(phi, 128).solve(np.ones(2), "constant")
    assert result.amplification is None
    assert "data of that step" in result.advice
    assert "lower the learning rate" not in result.advice


def test_random_numbers_that_begin_late_are_named():
    rng = np.random.default_rng(0)

    def phi(weights, index, level):
        return 0.9 * weights + np.where(index < 40, 0, 1e-3)[:, None] * rng.normal(size=weights.shape)

    result = dm.MGRIT(phi, 128).solve(np.ones(2), "constant")
    assert not result.converged
    assert result.amplification.cause == "noise"
    assert result.advice.startswith("phi gives different results for the same input (level 0, step 40)")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_that_is_sound_is_not_accused(dtype):
    """Adam on a net with kinks, which amplifies in its first steps: coarse steps are at fault, not training."""
    rng, size = np.random.default_rng(0), 24
    x = rng.normal(size=(16, size // 3)).astype(dtype)
    y = np.sin(x.sum(1))

    def step(state, index):
        w, m, v = np.split(state, 3)
        hidden = x * w
        error = np.maximum(hidden, 0).sum(1) - y
        gradient = (error[:, None] * (hidden > 0) * x).mean(0)
        m, v = 0.9 * m + 0.1 * gradient, np.hypot(np.sqrt(0.999) * v, np.sqrt(0.001) * gradient)
        return np.concatenate([w - 0.03 * m / (v + dtype(1e-8)), m, v]).astype(dtype)

    w0 = np.r_[rng.normal(size=size // 3), np.zeros(2 * size // 3)].astype(dtype)
    found = examine_levels(dm.from_function(step), w0, [128, 64, 32], 200)
    assert found is None or found.level


def test_transfers_have_states_of_their_own_on_each_level():
    heat = dm.problems.HeatEquation(points=17, steps=512)
    transfer = dm.problems.GridTransfer()
    unstable = Counted(lambda weights, index, level: heat(weights, index, level) * (1.0 if level < 2 else -2.0))
    result = dm.MGRIT(unstable, 512, transfer=[transfer, None]).solve(heat.w0, maxiter=30)
    assert not result.converged
    assert result.amplification.level == 2
    assert "max_levels=2" in result.advice
