"""Stopping by the callback on any scheduler."""

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
