"""Where a solve runs: the client given, the scheduler configured, the current client, threads."""

import dask
import distributed
import pytest

import daskmgrit as dm
from daskmgrit.executors.choose import choose_executor, chosen_client, is_asynchronous
from daskmgrit.executors.cluster import ClusterExecutor
from tests.support.scripted import ScriptedClient


@pytest.fixture
def current(monkeypatch):
    """A current client that is connected."""
    client = ScriptedClient()
    monkeypatch.setattr(distributed, "default_client", lambda: client)
    return client


def test_threads_without_anything():
    executor = choose_executor()
    assert (executor.name, executor.client, executor.ahead) == ("threads", None, False)
    assert is_asynchronous(chosen_client()) is False


@pytest.mark.parametrize(
    ("configured", "name"),
    [("sync", "sync"), ("threads", "threads"), ("processes", "processes"), (lambda dsk, keys: [], "threads")],
)
def test_the_configured_scheduler_comes_before_the_current_client(current, configured, name):
    with dask.config.set(scheduler=configured):
        assert choose_executor().name == name


@pytest.mark.parametrize("configured", [None, "distributed", "dask.distributed"])
def test_the_current_client(current, configured):
    with dask.config.set(scheduler=configured):
        executor = choose_executor(timeout=3)
    assert isinstance(executor, ClusterExecutor)
    assert (executor.client, executor.patience) == (current, 3)


def test_a_client_as_configured_scheduler(current):
    other = ScriptedClient()
    with dask.config.set(scheduler=other.get):
        assert choose_executor().client is other


def test_a_client_that_is_given_comes_first(current):
    other = ScriptedClient()
    with dask.config.set(scheduler="sync"):
        assert choose_executor(other).client is other


def test_a_current_client_that_never_connected(current):
    current.status = "connecting"
    current._scheduler_identity = {}
    assert choose_executor().name == "threads"


def test_what_is_no_client():
    with pytest.raises(TypeError, match="client='tcp://a' is not a dask"):
        choose_executor("tcp://a")
    closed = ScriptedClient()
    closed.status = "closed"
    with pytest.raises(dm.ClusterError, match="is closed: pass an open client"):
        choose_executor(closed)
