"""The solver object: callback, tolerance, guesses, result."""

import pickle

import numpy as np
import pytest

import daskmgrit as dm
from tests.support.recurrences import Decay


def test_callback_sees_every_cycle_and_lazy_weights(decay, w0):
    seen = []

    def callback(iteration, residual, weights):
        assert hasattr(weights, "dask")
        seen.append((iteration, residual, weights.compute()))

    result = dm.MGRIT(decay, 100).solve(w0, callback=callback, chunks=3)
    assert [k for k, _, _ in seen] == list(range(1, result.iterations + 1))
    assert [r for _, r, _ in seen] == result.residuals[1:]
    assert np.array_equal(seen[-1][2], result.weights.compute())
    assert not np.array_equal(seen[0][2], seen[1][2])


def test_zero_tolerance_does_exactly_maxiter_cycles(decay, w0):
    serial = dm.train_serially(decay, w0, 64)
    result = dm.MGRIT(decay, 64).solve(w0, initial_guess=serial, tol=0, maxiter=4)
    assert (result.iterations, result.reason) == (4, "maxiter")
    assert len(result.residuals) == 5
    assert result.residuals[0] == 0.0


def test_maxiter_zero_evaluates_the_guess_only(decay, w0):
    result = dm.MGRIT(decay, 64).solve(w0, maxiter=0)
    assert (result.iterations, result.reason) == (0, "maxiter")
    assert len(result.residuals) == 1


def test_default_tolerance(decay, w0):
    result = dm.MGRIT(decay, 400).solve(w0)
    assert result.tol == 1e-9 * 20
    assert result.residuals[-1] <= result.tol < result.residuals[-2]


def test_residual_of_the_initial_guess_is_over_all_points(decay, w0):
    zero = np.zeros((65, 5))
    zero[0] = w0
    norm = np.sqrt(sum(((decay(zero[i : i + 1], np.array([i]), 0)[0] - zero[i + 1]) ** 2).sum() for i in range(64)))
    result = dm.MGRIT(decay, 64).solve(w0, maxiter=0)
    assert result.residuals[0] == pytest.approx(norm, rel=1e-14)


def test_residual_after_a_cycle_is_that_of_the_weights(decay, w0):
    result = dm.MGRIT(decay, 64).solve(w0, maxiter=2, tol=0, chunks=3)
    weights = result.weights.compute()
    stepped = decay(weights[:-1], np.arange(64), 0)
    assert result.residuals[2] == pytest.approx(np.linalg.norm(stepped - weights[1:]), rel=1e-12)
    # F-points have no residual.
    assert np.array_equal(stepped[::2], weights[1::2])


def test_factors(decay, w0):
    result = dm.MGRIT(decay, 100).solve(w0)
    r, k = result.residuals, result.iterations
    assert result.convergence_factor == pytest.approx((r[k] / r[1]) ** (1 / k))
    assert result.mean_factor == pytest.approx((r[k] / r[0]) ** (1 / k))
    assert np.isnan(dm.MGRIT(decay, 100).solve(w0, maxiter=0).convergence_factor)


def test_solving_twice_gives_the_same(decay, w0):
    solver = dm.MGRIT(decay, 100)
    first, second = solver.solve(w0), solver.solve(w0)
    assert first.residuals == second.residuals


def test_w0_may_be_a_list_of_integers_and_is_not_changed():
    start = np.array([1, 2])
    result = dm.MGRIT(Decay(), 40).solve(start)
    assert result.final.dtype == np.float64
    assert start.tolist() == [1, 2]
    assert np.array_equal(result.weights[0].compute(), [1.0, 2.0])


def test_complex_states():
    def rotate(weights, index, level):
        return weights * np.exp(0.1j * 2**level) * 0.99 ** (2**level)

    w0 = np.array([1.0 + 0j, 2.0])
    result = dm.MGRIT(rotate, 60).solve(w0)
    assert result.converged
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(rotate, w0, 60), atol=1e-8)


def test_vectorize():
    calls = []

    def single(w, i, level):
        assert w.shape == (3,)
        assert isinstance(i, int)
        assert isinstance(level, int)
        calls.append(i)
        return 0.9 ** (2**level) * w

    phi = dm.vectorize(single)
    assert dm.check_propagator(phi, np.ones(3)).ok
    result = dm.MGRIT(phi, 30).solve(np.ones(3))
    assert result.converged
    np.testing.assert_allclose(result.final, 0.9**30, rtol=1e-7)


def test_records_add_up(decay, w0):
    result = dm.MGRIT(decay, 100).solve(w0, chunks=4)
    for level, count in enumerate(result.phi_evaluations):
        assert count == sum(record.evaluations for record in result.records if record.level == level)
    assert {record.cycle for record in result.records} == set(range(result.iterations + 1))
    assert {"F-relaxation", "C-relaxation", "residual", "correction", "coarse solve", "coarse step"} <= {
        record.kind for record in result.records
    }
    assert all(record.phi_seconds <= record.seconds for record in result.records)


def test_printed(decay, w0, capsys):
    solver = dm.MGRIT(decay, 100)
    assert "100" in str(solver)
    assert repr(solver) == "<MGRIT: V-cycle, levels [100, 50, 25, 12, 6]>"
    result = solver.solve(w0, progress=True)
    lines = capsys.readouterr().err.splitlines()
    shown = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert [int(line[0]) for line in shown] == list(range(result.iterations + 1))
    assert float(shown[-1][1]) == pytest.approx(result.residuals[-1], rel=1e-2)
    assert "converged" in str(result)
    assert "Phi evaluations" in str(result)


def test_solver_pickles(decay, w0):
    solver = pickle.loads(pickle.dumps(dm.MGRIT(decay, 100, relaxation=["FCF", "F"])))
    assert solver.solve(w0).converged


def test_where_nothing_moves_that_is_told():
    result = dm.MGRIT(lambda weights, index, level: 0.9 * weights, 64).solve(np.zeros(3))
    assert (result.reason, result.iterations) == ("tol", 0)
    assert "the initial guess is already the solution" in str(result)
    assert "potential speedup" not in str(result)
