"""The exponential step: M plain steps at once on a quadratic, bounded elsewhere, a state's bits its own."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import CoarseRule, exponential_step, stabilise
from daskmgrit.coarse.long_steps import long_steps
from daskmgrit.problems import adder, xor

CURVATURE = np.array([0.0, 1e-9, 0.02, 0.3, 1.0])


def quadratic(weights):
    return CURVATURE * weights - np.array([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("steps", [1, 2, 7, 64])
@pytest.mark.parametrize("rate", [0.25, 1.0, 1.5])
def test_it_is_the_plain_steps_on_a_quadratic(steps, rate):
    start = np.random.default_rng(0).normal(size=(3, 5))
    plain = start
    for _ in range(steps):
        plain = plain - rate * quadratic(plain)
    np.testing.assert_allclose(exponential_step(quadratic, start, steps * rate, rate), plain, rtol=1e-6, atol=1e-6)


def test_negative_curvature_grows_by_no_more_than_the_bound():
    step = exponential_step(lambda w: -w, np.ones((1, 1)), 1000.0, 0.5)
    np.testing.assert_allclose(step, 2.0, rtol=1e-6)


def test_modes_that_plain_steps_would_blow_up_keep_their_size():
    for count in (3, 4):
        step = exponential_step(lambda w: 5 * w, np.ones((1, 1)), float(count), 1.0)
        np.testing.assert_allclose(step, (-1.0) ** count, rtol=1e-6)


def test_a_state_without_gradient_stays_to_the_bit():
    start = np.ones((2, 3))
    assert np.array_equal(exponential_step(np.zeros_like, start, 8.0, 1.0), start)


def test_a_state_that_has_diverged_leaves_others_alone():
    start = np.array([[1.0, 1.0], [np.inf, 1.0], [np.nan, 1.0]])
    with np.errstate(all="ignore"):
        found = exponential_step(lambda w: 0.5 * w, start, 4.0, 1.0)
    assert np.array_equal(found[:1], exponential_step(lambda w: 0.5 * w, start[:1], 4.0, 1.0))
    assert np.isnan(found[1:]).all()


def test_a_state_is_the_same_bits_in_every_block():
    problem = xor()
    phi = problem.propagator("1", coarse="exponential")
    states = problem.w0 + np.random.default_rng(1).normal(size=(7, problem.w0.size))
    together = phi(states, np.arange(7), 4)
    for k in range(7):
        assert np.array_equal(phi(states[k : k + 1], np.arange(k, k + 1), 4), together[k : k + 1])


def test_solve_of_a_quadratic_is_done_as_soon_as_coarse_steps_are_exact():
    def descend(weights, index, level, rate):
        return weights - rate * (CURVATURE * weights - 0.1)

    phi = stabilise(descend, 0.5, 1.9, method="exponential")
    assert dm.MGRIT(phi, 256).solve(np.ones(5), tol=1e-6, initial_guess="constant").iterations <= 2


def test_xor_is_trained_in_fewer_cycles_than_by_capped_steps():
    problem = xor()

    def solved(coarse):
        phi = problem.propagator("1", coarse=coarse)
        return dm.MGRIT(phi, 200).solve(problem.w0, initial_guess="constant")

    exact, capped = solved("exponential"), solved("capped")
    assert exact.converged
    assert exact.iterations < capped.iterations


def test_nets_that_are_too_large_are_refused_before_a_hessian_is_taken():
    with pytest.raises(ValueError, match=r'at most 256 weights, but the net has \d+: give "chebyshev"'):
        adder().propagator("1", coarse="exponential")
    with pytest.raises(ValueError, match="the net has 257"):
        exponential_step(lambda w: w, np.ones((1, 257)), 2.0, 1.0)


def test_it_needs_the_rate_of_a_fine_step_and_numpy_states():
    with pytest.raises(ValueError, match="fine_rate"):
        CoarseRule("exponential")
    with pytest.raises(ValueError, match="NumPy"):
        long_steps(None, "exponential", None, None)
