"""A pool of processes, and clusters that are lost."""

import os
import signal

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.reference import FEW, STEPS, assert_same, reference


def test_processes_scheduler(w0):
    expected, weights = reference(Decay(), w0, "zero", FEW)
    with dask.config.set(scheduler="processes", num_workers=2):
        result = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2, **FEW)
        assert_same(result, expected, weights)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("guess", ["zero", "nested", "array"])
def test_lost_worker(w0, guess, victim):
    """A worker that dies takes its chunks with it; they are computed again, to the same bits."""
    if guess == "array":
        guess = np.random.default_rng(5).random((STEPS + 1, w0.size))
    expected, weights = reference(Decay(), w0, guess, {})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        processes = client.run(os.getpid)
        doomed = processes[sorted(processes)[victim]]

        def kill(iteration, residual, weights):
            if iteration == 2:
                os.kill(doomed, signal.SIGKILL)

        result = dm.MGRIT(Decay(), STEPS).solve(w0, guess, chunks=2, client=client, callback=kill)
        assert_same(result, expected, weights)


def test_lost_cluster(w0):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):

        def restart(iteration, residual, weights):
            if iteration == 2:
                client.restart()

        with pytest.raises(dm.ClusterError, match=r"the cluster lost .* and cannot compute it again"):
            dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2, client=client, callback=restart)
