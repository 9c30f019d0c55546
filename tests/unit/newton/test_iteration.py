"""The iteration gives what serial training does, to the tolerance that was asked for, in at most N sweeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskmgrit import Diverged, train_serially
from daskmgrit.models import MLP, AllExamples, CappedRate, GradientDescent, OptimizerStep, Serial
from daskmgrit.models.optimizers import OPTIMIZERS, make_rule
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import JACOBIANS, NewtonSettings, choose_jacobian, choose_size, whole_run


def training(seed, optimizer, rate, dtype=np.float64):
    """Return a random small training problem: its propagator and initial state."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 4, rng.integers(2, 4))]
    loss = str(rng.choice(["squared_error", "cross_entropy"]))
    hidden = str(rng.choice(["sigmoid", "tanh"]))
    model = MLP(sizes, hidden, loss, bias=bool(rng.integers(2)), reduction=str(rng.choice(["sum", "mean"])))
    x = rng.standard_normal((6, sizes[0])).astype(dtype)
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], 6)].astype(dtype)
    data = AllExamples() if rng.integers(2) else Serial(6, 2)
    w0 = rng.standard_normal(model.size).astype(dtype)
    if optimizer == "descent":
        return GradientDescent(model, x, y, CappedRate(rate, rate), data), w0
    phi = OptimizerStep(model, w0, x, y, make_rule(optimizer, rate), data)
    return phi, phi.w0


def residual(phi, weights):
    """Return the 2-norm of the residual over all steps, straight from its definition."""
    index = np.arange(len(weights) - 1)
    return np.linalg.norm(phi(weights[:-1], index, 0) - weights[1:])


@given(
    seed=st.integers(0, 10**6),
    optimizer=st.sampled_from(["descent", *OPTIMIZERS]),
    rate=st.sampled_from([1e-3, 0.05, 1.0, 20.0]),
    jacobian=st.sampled_from(JACOBIANS),
    window=st.one_of(st.just("auto"), st.integers(1, 40)),
    rank=st.integers(1, 9),
    exponent=st.sampled_from([None, -12, -9, -6, -2]),
    steps=st.integers(1, 60),
    dtype=st.sampled_from([np.float64, np.float64, np.float32]),
)
@settings(max_examples=60, deadline=None)
def test_the_residual_is_what_was_asked_for(seed, optimizer, rate, jacobian, window, rank, exponent, steps, dtype):
    phi, w0 = training(seed, optimizer, rate, dtype)
    tol = 0.0 if exponent is None else 10.0**exponent
    method = NewtonSettings(steps, tol, jacobian, choose_size(window, jacobian), rank=rank)
    solved = solve_in_one_process(phi, w0, method, keep=True)
    assert len(solved.sweeps) <= steps
    assert sum(sweep.accepted for sweep in solved.sweeps) == steps
    assert solved.weights.shape == (steps + 1, len(w0))
    assert np.array_equal(solved.final, solved.weights[-1])
    assert solved.residual <= tol
    found = residual(phi, solved.weights)
    assert found == pytest.approx(solved.residual, rel=1e-4 if dtype == np.float32 else 1e-9, abs=1e-300)
    if tol == 0.0:
        assert np.array_equal(solved.weights, train_serially(phi, w0, steps))


@given(
    seed=st.integers(0, 10**6),
    optimizer=st.sampled_from(["descent", "adam"]),
    jacobian=st.sampled_from(JACOBIANS),
    window=st.integers(1, 12),
    interval=st.integers(1, 7),
    steps=st.integers(1, 40),
    tol=st.sampled_from([0.0, 1e-8]),
)
@settings(max_examples=40, deadline=None)
def test_slots_of_several_steps(seed, optimizer, jacobian, window, interval, steps, tol):
    phi, w0 = training(seed, optimizer, 0.05)
    method = NewtonSettings(steps, tol, jacobian, choose_size(window, jacobian), interval=interval, rank=3)
    solved = solve_in_one_process(phi, w0, method, keep=True)
    places = np.minimum(interval * np.arange(-(-steps // interval) + 1), steps)
    assert len(solved.sweeps) < len(places)
    assert solved.weights.shape == (len(places), len(w0))
    images = []
    for begin, end, state in zip(places, places[1:], solved.weights, strict=False):
        for step in range(begin, end):
            state = phi(state[None], np.array([step]), 0)[0]
        images.append(state)
    found = np.linalg.norm(np.array(images) - solved.weights[1:])
    assert found <= tol
    assert found == pytest.approx(solved.residual, rel=1e-9)
    if tol == 0.0:
        assert np.array_equal(solved.weights, train_serially(phi, w0, steps)[places])


@pytest.mark.parametrize("groups", [1, 3, 16])
def test_the_whole_run_at_once(groups):
    phi, w0 = training(3, "descent", 0.02)
    solved = solve_in_one_process(phi, w0, whole_run(50, 1e-9, rank=2, groups=groups), keep=True)
    assert solved.residual <= 1e-9
    assert len(solved.sweeps) < 25
    assert solved.sweeps[0].slots == 25
    np.testing.assert_allclose(solved.weights, train_serially(phi, w0, 50)[::2], atol=1e-7)


def test_a_window_of_one_step_is_serial_training():
    phi, w0 = training(1, "adam", 0.01)
    solved = solve_in_one_process(phi, w0, NewtonSettings(9, 1e-3, size=choose_size(1, "identity")), keep=True)
    assert np.array_equal(solved.weights, train_serially(phi, w0, 9))
    assert (len(solved.sweeps), solved.phi_evaluations, solved.critical_path, solved.strict_path) == (9, 9, 9, 9)


def test_paths_are_counted_with_and_without_the_scan():
    solved = solve_in_one_process(
        lambda w, i, level: 0.5 * w, np.ones(2), NewtonSettings(32, 0.0, size=choose_size(8, "identity"))
    )
    assert solved.critical_path == len(solved.sweeps)
    slots = [sweep.slots for sweep in solved.sweeps]
    assert solved.strict_path == sum(1 + int(np.ceil(np.log2(n))) if n > 1 else 1 for n in slots)
    assert solved.phi_evaluations == sum(slots)


def test_divergence_is_found_where_serial_training_has_it():
    def phi(weights, index, level):
        return np.where((index == 7)[:, None], np.nan, 0.9 * weights)

    for tol in (0.0, 1e-6):
        with pytest.raises(Diverged) as raised:
            solve_in_one_process(phi, np.ones(3), NewtonSettings(20, tol, size=choose_size(16, "identity")))
        assert raised.value.step == 7


def test_guesses_may_overflow():
    """Far guesses that Phi fails on are dropped: the states before them are what serial training gives."""

    def phi(weights, index, level):
        return np.where(weights > 2.5, np.inf, weights / (1 + 0.2 * weights))

    solved = solve_in_one_process(
        phi, np.full(2, 2.0), NewtonSettings(30, 0.0, size=choose_size(8, "identity")), keep=True
    )
    assert np.array_equal(solved.weights, train_serially(phi, np.full(2, 2.0), 30))


def test_residuals_that_underflow_when_squared_are_not_zero():
    def phi(weights, index, level):
        return 0.5 * weights

    w0 = np.full(2, 1e-170)
    solved = solve_in_one_process(phi, w0, NewtonSettings(20, 0.0, size=choose_size(8, "identity")), keep=True)
    assert np.array_equal(solved.weights, train_serially(phi, w0, 20))


def test_an_exact_jacobian_takes_few_sweeps():
    """Newton's method on a linear recurrence is exact but for rounding, whatever its length."""
    rng = np.random.default_rng(5)
    matrix = 0.5 * np.linalg.qr(rng.standard_normal((4, 4)))[0]

    def phi(weights, index, level):
        return (matrix @ weights[:, :, None])[:, :, 0] + index[:, None] % 3

    method = NewtonSettings(64, 1e-8, "full", choose_size(64, "full"))
    solved = solve_in_one_process(phi, np.ones(4), method)
    # Far from the solution corrections are shortened, which takes some.
    assert len(solved.sweeps) <= 12
    np.testing.assert_allclose(solved.final, train_serially(phi, np.ones(4), 64)[-1], atol=1e-7)


def test_directions_of_low_rank_take_fewer_sweeps():
    """Two stiff directions among twelve, which the basis finds; the rest hardly moves."""
    rates = np.full(12, 0.01)
    rates[:2] = 0.9, 1.5

    def phi(weights, index, level):
        return weights - rates * (weights - 1 - 0.1 * np.sin(index)[:, None])

    sweeps = {}
    for jacobian in ("identity", "lowrank"):
        method = NewtonSettings(200, 1e-8, jacobian, choose_size(64, jacobian), rank=2)
        solved = solve_in_one_process(phi, np.zeros(12), method)
        sweeps[jacobian] = len(solved.sweeps)
        np.testing.assert_allclose(solved.final, train_serially(phi, np.zeros(12), 200)[-1], atol=1e-6)
    assert 2 * sweeps["lowrank"] < sweeps["identity"]


@pytest.mark.parametrize("work", [1.5, 3.0])
@pytest.mark.parametrize("most", [None, 5])
def test_the_window_follows_what_is_accepted(work, most):
    phi, w0 = training(2, "adam", 0.01)
    size = choose_size("auto", "identity", most, work)
    solved = solve_in_one_process(phi, w0, NewtonSettings(300, 1e-6, size=size))
    assert solved.phi_evaluations <= 1.25 * work * 300
    assert most is None or max(sweep.slots for sweep in solved.sweeps) <= most


def test_the_jacobian_that_is_asked_for():
    assert choose_jacobian("auto") == "identity"
    assert [choose_jacobian(each) for each in JACOBIANS] == list(JACOBIANS)
    with pytest.raises(ValueError, match="jacobian='full' needs linear algebra"):
        choose_jacobian("full", np.float16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps=0"),
        ({"tol": -1.0}, "tol=-1.0"),
        ({"jacobian": "exact"}, "give one of identity, lowrank, full"),
        ({"rank": 0}, "rank=0"),
        ({"interval": 0}, "interval=0"),
        ({"reach": 0.0}, "reach=0.0"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(ValueError, match=said):
        NewtonSettings(**({"steps": 4, "tol": 0.0} | options))
    with pytest.raises(ValueError, match="window=0"):
        choose_size(0, "identity")
