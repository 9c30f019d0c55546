"""Solves on local threads."""

import dask
import numpy as np

import daskmgrit as dm
from tests.support.recurrences import Decay

STEPS = 100


FEW = {"tol": 0, "maxiter": 3}


def reference(phi, w0, guess, how, **options):
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(phi, STEPS, **options).solve(w0, initial_guess=guess, chunks=1, **how)
    return result, result.weights.compute(scheduler="sync")


def assert_same(result, expected, weights, **how):
    assert result.residuals == expected.residuals
    assert result.phi_evaluations == expected.phi_evaluations
    assert result.critical_path == expected.critical_path
    assert np.array_equal(result.weights.compute(**how), weights)
    assert np.array_equal(result.final, weights[-1])


def test_no_client_needs_nothing_set_up(w0):
    expected, weights = reference(Decay(), w0, "zero", {})
    assert_same(dm.MGRIT(Decay(), STEPS).solve(w0), expected, weights)


def test_overlapping_local_solves_leave_blas_alone(w0):
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    seen = []

    def inner(iteration, residual, weights):
        if iteration == 1:
            dm.MGRIT(Decay(), STEPS).solve(w0, **FEW)
            seen.append(threads())

    dm.MGRIT(Decay(), STEPS).solve(w0, callback=inner, **FEW)
    assert seen == [[1] * len(before)]
    assert threads() == before
