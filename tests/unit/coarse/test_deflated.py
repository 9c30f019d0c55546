"""The deflated step: exact in the directions of the largest curvatures, bounded in the rest, one gradient."""

import pickle

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import CoarseRule, deflated_step, find_curvatures, stabilise
from daskmgrit.problems import xor
from daskmgrit.tune import Settings

# Two large curvatures of a basis that is not the axes', a negative one, and small ones.
VALUES = np.array([1.5, 0.8, -0.3, 0.02, 0.01, 0.0])
BASIS = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
HESSIAN = (BASIS * VALUES) @ BASIS.T
PULL = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def quadratic(weights):
    # A sum for each state, so that its bits are its own.
    return np.matmul(weights[:, None], HESSIAN)[:, 0] - PULL


def curvatures(rank, length=4.0):
    return find_curvatures(quadratic, np.ones(6), length, 1.2, rank)


def test_curvatures_are_the_largest_of_the_hessian():
    found = curvatures(3)
    assert found.rank == 3
    np.testing.assert_allclose(found.values, np.tile([1.5, 0.8, -0.3], (len(found.times), 1)), rtol=1e-6)
    np.testing.assert_allclose(found.rest, 0.02, rtol=1e-6)
    for modes in found.modes:
        np.testing.assert_allclose(modes.T @ modes, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(HESSIAN @ modes, modes * [1.5, 0.8, -0.3], atol=1e-6)


def test_gradients_of_curvatures_are_counted():
    calls = []

    def counted(weights):
        calls.append(len(weights))
        return quadratic(weights)

    found = find_curvatures(counted, np.ones(6), 4.0, 1.2, 2)
    assert found.times.tolist() == [0.0, 1.2, 2.4, 4.0]
    assert found.preparation.evaluations == sum(calls)
    # Stages of the rough steps; four products in a row at the first state and two at each of the others.
    assert found.preparation.path == 1 + 1 + 2 + 4 + 2 * 3


@pytest.mark.parametrize("rate", [0.25, 1.0])
@pytest.mark.parametrize("count", [2, 7, 64])
def test_it_is_the_plain_steps_in_the_largest_curvatures(rate, count):
    start = np.random.default_rng(0).normal(size=(3, 6))
    plain = start
    for _ in range(count):
        plain = plain - rate * quadratic(plain)
    step = deflated_step(quadratic, start, count * rate, rate, curvatures(2), np.zeros(3))
    np.testing.assert_allclose((step @ BASIS)[:, :2], (plain @ BASIS)[:, :2], rtol=1e-6, atol=1e-6)


def test_the_rest_takes_one_bounded_plain_step():
    start, found = np.random.default_rng(0).normal(size=(3, 6)), curvatures(3)
    slope = quadratic(start) @ BASIS
    for length, plain in ((8.0, 8.0), (1000.0, 1 / 0.02)):
        step = deflated_step(quadratic, start, length, 0.5, found, np.zeros(3)) @ BASIS
        np.testing.assert_allclose(step[:, 3:], (start @ BASIS - plain * slope)[:, 3:], rtol=1e-6, atol=1e-6)


def test_negative_curvature_grows_by_no_more_than_the_bound():
    found = find_curvatures(lambda w: -w, np.ones(1), 4.0, 1.0, 1)
    np.testing.assert_allclose(deflated_step(lambda w: -w, np.ones((1, 1)), 1e3, 0.5, found, [0.0]), 2.0, rtol=1e-6)


def test_curvatures_of_all_directions_are_exact_without_a_rest():
    found = curvatures(99)
    assert found.rank == 6
    assert not found.rest.any()


def test_the_nearest_state_in_training_decides():
    def stiffer(weights):
        return weights**3

    found = find_curvatures(stiffer, np.full(2, 2.0), 8.0, 0.1, 1)
    assert np.all(np.diff(found.values[:, 0]) < 0)
    start = np.full((2, 2), 0.5)
    early, late = deflated_step(stiffer, start, 1.0, 0.1, found, np.array([0.0, 8.0]))
    assert np.array_equal(early, deflated_step(stiffer, start[:1], 1.0, 0.1, found, np.array([0.0]))[0])
    assert np.array_equal(late, deflated_step(stiffer, start[:1], 1.0, 0.1, found, np.array([8.0]))[0])
    assert not np.array_equal(early, late)


def test_the_guess_goes_from_state_to_state():
    found = curvatures(2)
    guess = found.guess(16, 0.25)
    assert guess.shape == (17, 6)
    assert np.array_equal(guess[0], found.states[0])
    np.testing.assert_allclose(guess[-1], found.states[-1])
    np.testing.assert_allclose(guess[2], (0.7 * found.states[0] + 0.5 * found.states[1]) / 1.2)


def test_a_state_is_the_same_bits_in_every_block():
    problem = xor()
    phi = pickle.loads(pickle.dumps(problem.propagator("1", coarse="deflated", rank=4, steps=64)))
    states = problem.w0 + np.random.default_rng(1).normal(size=(7, problem.w0.size))
    together = phi(states, np.arange(7), 4)
    for k in range(7):
        assert np.array_equal(phi(states[k : k + 1], np.arange(k, k + 1), 4), together[k : k + 1])


def test_a_solve_is_the_same_bits_for_every_chunking_and_scheduler():
    problem = xor()
    found = []
    for scheduler, chunks in (("sync", 1), ("sync", 5), ("threads", 3)):
        phi = problem.propagator("1", coarse="deflated", rank=4, steps=64)
        with dask.config.set(scheduler=scheduler):
            result = dm.MGRIT(phi, 64).solve(problem.w0, phi.rough_guess(64), maxiter=3, chunks=chunks)
        found.append((result.residuals, result.final.tolist()))
    assert found[0] == found[1] == found[2]


def test_a_step_counts_one_gradient_and_level_0_is_the_plain_step():
    problem = xor()
    phi = problem.propagator("1", coarse="deflated", rank=4, steps=64)
    assert [phi.stages(level) for level in range(8)] == [1] * 8
    states = problem.w0[None]
    assert np.array_equal(phi(states, np.array([3]), 0), problem.propagator("1")(states, np.array([3]), 0))


def test_a_result_counts_the_gradients_that_found_curvatures():
    """Each way to make the Phi; only from step 0 on, and not twice after a checkpoint."""
    problem, steps = xor(), 64
    phi = problem.propagator("1", coarse="deflated", rank=4, steps=steps)
    found = phi.coarse.curvatures
    for given, expected in (
        (phi, found.preparation),
        (stabilise(phi.at_rate, 1.0, 8.0, method="deflated", curvatures=found), found.preparation),
        (dm.start_at(phi, 8), (0, 0)),
        (problem.propagator("4"), (0, 0)),
    ):
        result = dm.MGRIT(given, steps).solve(problem.w0, "constant", maxiter=2, chunks=2)
        plain = dm.MGRIT(CountsOnly(given), steps).solve(problem.w0, "constant", maxiter=2, chunks=2)
        assert result.preparation == expected
        assert plain.preparation == (0, 0)
        assert result.critical_path == expected[1] + plain.critical_path
        assert result.phi_evaluations == [expected[0] + plain.phi_evaluations[0], *plain.phi_evaluations[1:]]
        assert ("before the solve" in str(result)) == (expected[0] > 0)


class CountsOnly:
    """A Phi that does not tell what came before."""

    def __init__(self, phi):
        self.phi, self.stages = phi, phi.stages

    def __call__(self, weights, index, level):
        return self.phi(weights, index, level)


def test_a_resumed_solve_counts_them_once(tmp_path):
    problem = xor()
    phi = problem.propagator("1", coarse="deflated", rank=4, steps=64)
    counts = []
    for name, given in (("told", phi), ("not told", CountsOnly(phi))):
        solver = dm.MGRIT(given, 64)
        solver.solve(problem.w0, "constant", maxiter=2, chunks=2, checkpoint=tmp_path / name)
        resumed = solver.resume(tmp_path / name, problem.w0, maxiter=3, chunks=2)
        counts.append((resumed.phi_evaluations[0], resumed.critical_path))
    assert np.subtract(*counts).tolist() == list(phi.preparation)


def test_solve_of_a_quadratic_is_done_as_soon_as_coarse_steps_are_exact():
    def bowl(weights):
        return np.matmul(weights[:, None], (BASIS * abs(VALUES)) @ BASIS.T)[:, 0] - PULL

    def descend(weights, index, level, rate):
        return weights - rate * bowl(weights)

    found = find_curvatures(bowl, np.ones(6), 128.0, 1.2, 6)
    phi = stabilise(descend, 0.5, 1.2, method="deflated", curvatures=found)
    assert dm.MGRIT(phi, 256).solve(np.ones(6), tol=1e-5, initial_guess="constant").iterations <= 2


def test_few_curvatures_do_where_few_are_large():
    """Coarse steps beyond alpha_max cut the rest short; that is where the modes are that hardly move."""
    values = np.array([1.5, 0.8, 1e-4, 1e-4, 0.0, 0.0])

    def descend(weights, index, level, rate):
        return weights - rate * (values * weights - 1e-3)

    def solved(**how):
        phi = stabilise(descend, 0.5, 1.2, **how)
        return dm.MGRIT(phi, 1024).solve(np.ones(6), initial_guess="constant")

    found = find_curvatures(lambda w: values * w - 1e-3, np.ones(6), 512.0, 1.2, 2)
    deflated, capped = solved(method="deflated", curvatures=found), solved(method="capped")
    assert deflated.converged
    assert deflated.iterations < capped.iterations


def test_its_own_fingerprint():
    problem = xor()
    deflated = [problem.propagator("1", coarse="deflated", rank=rank, steps=64) for rank in (4, 5)]
    assert deflated[0].fingerprint() != deflated[1].fingerprint()
    assert deflated[0].fingerprint() == problem.propagator("1", coarse="deflated", rank=4, steps=64).fingerprint()


def test_what_it_needs_is_asked_for_by_name():
    with pytest.raises(ValueError, match="find_curvatures"):
        CoarseRule("deflated", fine_rate=0.1)
    with pytest.raises(ValueError, match="fine_rate"):
        CoarseRule("deflated", curvatures=curvatures(1))
    rule = CoarseRule("deflated", fine_rate=0.1, curvatures=curvatures(1))
    with pytest.raises(ValueError, match="index="):
        rule.step(quadratic, np.ones((1, 6)), 1.0, 1)
    with pytest.raises(ValueError, match="is not tuned"):
        Settings(1.0, coarse="deflated")
    with pytest.raises(ValueError, match="rank=4 has no effect"):
        xor().propagator("1", rank=4)
    with pytest.raises(ValueError, match="lower alpha_max"), np.errstate(all="ignore"):
        find_curvatures(lambda w: 100 * w**3, np.ones(2), 1e3, 100.0)


@pytest.mark.parametrize("coarse", ["deflated", "capped"])
def test_the_steps_of_a_rough_guess_are_a_number(coarse):
    options = {"rank": 4, "steps": 64} if coarse == "deflated" else {}
    phi = xor().propagator("1", coarse=coarse, **options)
    for steps in (0, 2.5, "64"):
        with pytest.raises(ValueError, match=r"steps=.* is not an integer of at least 1"):
            phi.rough_guess(steps)
    assert (phi.rough_guess(64) is None) == (coarse == "capped")
