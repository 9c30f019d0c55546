"""Weights that are not there any more, since the client is closed or the cluster was restarted: an error says so."""

import pickle

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from tests.support.recurrences import Decay

STEPS = 32


def full(client, w0):
    return dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2).weights


def c_points(client, w0):
    return dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2, storage="c-points").weights


def newton(client, w0):
    return dm.ParallelNewton(Decay(), STEPS).solve(w0, client=client, keep="all").weights


def callback(client, w0):
    seen = []
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2, callback=lambda k, r, w: seen.append(w), maxiter=1)
    return seen[-1]


def uses(weights, w0):
    """Return whatever may be done with weights."""
    return (
        lambda: weights.compute(),
        lambda: weights[-1].compute(scheduler="sync"),
        lambda: (weights + 1).sum().compute(optimize_graph=False),
        lambda: weights.persist(),
        lambda: np.asarray(weights),
        lambda: dask.compute(weights, weights[0]),
        lambda: pickle.loads(pickle.dumps(weights)).compute(),
        lambda: dm.MGRIT(Decay(), STEPS).solve(w0, weights),
        lambda: dm.MGRIT(Decay(), STEPS).solve(w0, weights * 1.0),
    )


@pytest.mark.parametrize("make", [full, c_points, newton, callback])
def test_every_use_of_the_weights_is_refused(cluster, w0, make):
    with Client(cluster, set_as_default=False) as client:
        weights = make(client, w0)
        assert client.compute(weights[-1]).result().shape == w0.shape
    for use in uses(weights, w0):
        with pytest.raises(dm.ClusterError, match="client is closed: compute"):
            use()
    assert weights.shape == (STEPS + 1, w0.size)
    with Client(cluster) as other:
        for use in (lambda: weights[-1].compute(), lambda: other.compute(weights).result()):
            with pytest.raises(dm.ClusterError, match="client is closed: compute"):
                use()


@pytest.mark.parametrize("make", [full, c_points, newton])
def test_every_use_after_a_restart_is_refused(w0, make):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        weights = make(client, w0)
        client.restart()
        compute, row, total, _persist, array, several, _pickle, guess, other_guess = uses(weights, w0)
        for use in (
            *(compute, row, total, array, several, guess, other_guess),
            lambda: weights.persist().compute(),
            lambda: client.compute(weights).result(),
            lambda: dm.MGRIT(Decay(), STEPS).solve(weights[-1]),
            lambda: dm.ParallelNewton(Decay(), STEPS).solve(weights[-1]),
        ):
            with pytest.raises(dm.ClusterError, match="not on the cluster any more"):
                use()
        assert dm.MGRIT(Decay(), STEPS).solve(w0).converged


@pytest.mark.parametrize("solver", [dm.MGRIT(Decay(), STEPS), dm.ParallelNewton(Decay(), STEPS, window=4)])
def test_a_client_that_is_closed_during_a_solve(cluster, w0, solver):
    with Client(cluster, set_as_default=False) as client:

        def close(iteration, residual, weights):
            client.close()

        with pytest.raises(dm.ClusterError, match="the client was closed"):
            solver.solve(w0, tol=0, client=client, callback=close)
