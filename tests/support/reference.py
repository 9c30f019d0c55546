"""One solve on one chunk, synchronously: what all others are to be the same as, bit by bit."""

import dask
import numpy as np

import daskmgrit as dm
from tests.support.ghosts import assert_evaluations

STEPS = 100


FEW = {"tol": 0, "maxiter": 3}


def reference(phi, w0, guess, how, **options):
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(phi, STEPS, **options).solve(w0, initial_guess=guess, chunks=1, **how)
    return result, result.weights.compute(scheduler="sync")


def assert_same(result, expected, weights, **how):
    assert result.residuals == expected.residuals
    assert_evaluations(result, expected)
    assert result.critical_path == expected.critical_path
    assert np.array_equal(result.weights.compute(**how), weights)
    assert np.array_equal(result.final, weights[-1])
