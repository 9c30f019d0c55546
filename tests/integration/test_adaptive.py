"""Clusters that have no workers while there is nothing to do: a solve wakes them."""

import gc

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.reference import STEPS, assert_same, reference
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def adaptive():
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture
def client(adaptive):
    grow(adaptive)
    with Client(adaptive) as client:
        yield client


def grow(adaptive):
    return adaptive.adapt(minimum=0, maximum=2, interval="50ms", wait_count=1)


def idle(client):
    """Whether the cluster has let all workers go."""
    gc.collect()
    return not client.nthreads()


@pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])
def test_a_cluster_without_workers_is_woken(client, w0, method):
    for _ in range(2):
        wait_for(lambda: idle(client))
        result = method(Decay(), STEPS).solve(w0, client=client, timeout=60)
        assert np.allclose(result.final, dm.train_serially(Decay(), w0, STEPS)[-1], atol=1e-4)
        del result


def lose_all(adaptive, client):
    # A running adaptation would start others before their loss is noticed; after a new start it is known here.
    grow(adaptive).stop()

    def all_gone():
        # Asked again and again, because a decision in progress when it was stopped can still start a worker.
        adaptive.scale(0)
        return not client.nthreads()

    wait_for(all_gone, "all workers are gone")
    grow(adaptive)


@pytest.mark.parametrize("guess", ["zero", "array"])
def test_a_cluster_that_loses_all_workers_between_cycles(adaptive, client, w0, guess):
    if guess == "array":
        guess = np.random.default_rng(5).random((STEPS + 1, w0.size))
    solver, few = dm.MGRIT(Decay(), STEPS), {"tol": 0, "maxiter": 4}

    def leave(iteration, residual, weights):
        if iteration == 2:
            lose_all(adaptive, client)

    result = solver.solve(w0, guess, client=client, callback=leave, timeout=60, **few)
    expected, weights = reference(Decay(), w0, guess, few)
    assert_same(result, expected, weights)


def test_a_cluster_that_loses_all_workers_between_sweeps(adaptive, client, w0):
    def leave(iteration, residual, final):
        if iteration == 1:
            lose_all(adaptive, client)

    method = dm.ParallelNewton(Decay(), 300, window=4)
    result = method.solve(w0, client=client, callback=leave, timeout=60)
    with dask.config.set(scheduler="sync"):
        expected = method.solve(w0)
    assert result.residuals == expected.residuals
    assert np.array_equal(result.final, expected.final)
