"""Checks of a cluster before a solve."""

import pytest
from distributed.comm import CommClosedError

import daskmgrit as dm
from daskmgrit.executors import preflight as cluster_checks
from tests.support.scripted import view, worker


def good(weights, index, level):
    return 0.9 * weights


class FakeClient:
    def __init__(self, workers):
        self.workers = workers

    def run(self, probe, on_error):
        return self.workers

    def sync(self, call, callback_timeout):
        return call()


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (FakeClient({"tcp://a": dm.__version__, "tcp://b": None}), ["not installed on tcp://b", "PipInstall"]),
        (FakeClient({"tcp://a": "0.0.1"}), [dm.__version__, "tcp://a (0.0.1)", "install the same"]),
        (FakeClient({"tcp://a": OSError("no disk")}), ["tcp://a", "no disk"]),
        (FakeClient({f"tcp://{i}": None for i in range(9)}), ["and 6 more"]),
    ],
)
def test_workers_without_the_package_or_with_another_version(client, words):
    with pytest.raises(dm.ClusterError) as caught:
        cluster_checks.check_cluster(client, good)
    assert all(word in str(caught.value) for word in words)


class Silent(FakeClient):
    """Workers that do not answer, seen by a scheduler that may."""

    def __init__(self, view):
        self.view = view

    def run(self, probe, on_error):
        raise TimeoutError

    def run_on_scheduler(self, look, *args):
        if self.view is None:
            raise TimeoutError
        return self.view


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (view({"tcp://a": worker(silent=1), "tcp://b": worker(silent=8)}), "worker tcp://b did not answer for 10 s"),
        (view({"tcp://a": worker(silent=1), "tcp://b": worker(silent=2)}), "worker tcp://b did not answer for 10 s"),
        (None, "the scheduler did not answer for 10 s: .* increase timeout="),
    ],
)
def test_workers_that_do_not_answer(seen, words):
    with pytest.raises(dm.ClusterError, match=words):
        cluster_checks.ask_workers(Silent(seen), lambda: 1, timeout=10)


def test_workers_that_are_lost_meanwhile():
    lost = CommClosedError("gone")
    assert cluster_checks.ask_workers(FakeClient({"a": lost, "b": 1}), lambda: 1, timeout=10) == {"b": 1}
    with pytest.raises(dm.ClusterError, match="tcp://a was lost while the solve began"):
        cluster_checks.ask_workers(FakeClient({"tcp://a": lost}), lambda: 1, timeout=10)


class Running(FakeClient):
    """Workers that run what they are sent."""

    def run(self, probe, *args, on_error, workers=None):
        return {address: probe(*args) for address in workers or self.workers}


class Unknown:
    """A phi whose module the workers lack."""

    def __reduce__(self):
        return missing_module, ()

    def __call__(self, weights, index, level):
        return weights


def missing_module():
    raise ModuleNotFoundError("No module named 'mine'")


def test_phi_is_loaded_on_one_worker():
    client = Running(["tcp://b", "tcp://a"])
    cluster_checks.check_cluster(client, good)
    with pytest.raises(dm.ClusterError, match=r"cannot be loaded on tcp://a \(ModuleNotFoundError.*'mine'"):
        cluster_checks.check_cluster(client, Unknown())
