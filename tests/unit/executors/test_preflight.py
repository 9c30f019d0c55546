"""Checks of a cluster before a solve."""

import pytest

import daskmgrit as dm
from daskmgrit.executors import preflight as cluster_checks


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
