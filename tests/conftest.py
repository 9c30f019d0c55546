import os
import tempfile
import time

# Dask would read, and dask-jobqueue write to, the configuration of whoever runs the tests.
_configuration = tempfile.TemporaryDirectory()
os.environ["DASK_CONFIG"] = _configuration.name

import dask  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes with one thread each, on loopback."""
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    from distributed import Client

    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(autouse=True)
def no_client_is_left():
    """A client left behind is where all later tests compute: they would wait for ever once its cluster is gone."""
    yield
    from distributed.client import _get_global_client

    left = _get_global_client()
    if left is not None:
        left.close(timeout=5)
        pytest.fail(f"the test left {left} as the client of all that follows")


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook whole, in a kernel that leaves nothing in the user's home; returns where it ran."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    place = tmp_path / "here"
    place.mkdir()

    def run(notebook):
        from nbclient import NotebookClient

        client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": place}})
        client.execute()
        return place

    return run


@pytest.fixture
def synchronous():
    with dask.config.set(scheduler="sync"):
        yield


class Decay:
    """A mildly nonlinear, step-dependent recurrence that costs nothing; larger steps on coarse levels."""

    def __init__(self, m=2):
        self.m = m

    def __call__(self, weights, index, level):
        length = self.m**level
        return weights / (1 + 0.05 * length) + 0.01 * length * np.sin(weights) * (index % 3)[:, None]


class Slow(Decay):
    """The same, taking its time, so that a fault comes in the midst of a solve."""

    def __init__(self, m=2, seconds=0.005):
        super().__init__(m)
        self.seconds = seconds

    def __call__(self, weights, index, level):
        time.sleep(self.seconds)
        return super().__call__(weights, index, level)


class Counting:
    """Counts the states that another phi is given, by level."""

    def __init__(self, phi):
        self.phi = phi
        self.states = {}

    def __call__(self, weights, index, level):
        self.states[level] = self.states.get(level, 0) + len(weights)
        return self.phi(weights, index, level)

    def counts(self, levels):
        return [self.states.get(level, 0) for level in range(levels)]


@pytest.fixture
def decay():
    return Decay()


@pytest.fixture
def w0():
    return np.linspace(1.0, 2.0, 5)


class Stop(Exception):
    """Ends a solve in its midst."""


def stop_at(cycle):
    """Return a callback that raises Stop after this cycle."""

    def callback(iteration, residual, weights):
        if iteration == cycle:
            raise Stop

    return callback
