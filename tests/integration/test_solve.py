"""Stopping by the callback, and training on from what a cluster holds."""

from functools import partial

import dask
import numpy as np
import pytest

import daskmgrit as dm


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_callback_may_stop(decay, w0, where, request):
    client = request.getfixturevalue("client") if where == "cluster" else None
    states = {}

    def callback(iteration, residual, weights):
        states[iteration] = weights.compute()
        return iteration == 2

    result = dm.MGRIT(decay, 100).solve(w0, callback=callback, client=client, chunks=2)
    assert (result.iterations, result.reason, result.converged) == (2, "callback", False)
    assert np.array_equal(result.weights.compute(), states[2])


@pytest.mark.parametrize("solver", [dm.MGRIT, partial(dm.ParallelNewton, window=4)], ids=["MGRIT", "ParallelNewton"])
def test_training_on_from_a_row_that_the_cluster_holds(decay, w0, client, tmp_path, solver):
    first = dm.MGRIT(decay, 60).solve(w0, client=client, chunks=2)
    again = solver(decay, 60).solve(first.weights[-1], client=client, checkpoint=tmp_path)
    assert np.array_equal(again.final, solver(decay, 60).solve(first.final).final)
    assert np.array_equal(solver(decay, 60).resume(tmp_path, first.weights[-1], client=client).final, again.final)
    # The solve is here, its initial state is there.
    with dask.config.set(scheduler="sync"):
        assert np.array_equal(solver(decay, 60).solve(first.weights[-1]).final, again.final)
    # Nothing of it is to be held when the session's cluster is used again.
    del first
