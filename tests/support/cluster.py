"""A cluster of two worker processes, for all tests of a session."""

import dask
import pytest
from distributed import Client, LocalCluster

from daskmgrit.planning.measure import measure_machine


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes with one thread each, on loopback."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def measured(cluster):
    """What its tasks and messages cost, as `daskmgrit plan --measure` finds it: about ten seconds of its time."""
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return measure_machine(client)


@pytest.fixture
def client(cluster):
    """A client of it."""
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client
