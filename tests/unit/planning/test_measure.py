"""What is measured on a cluster; whole measurements are in the integration tests."""

import os

import pytest

from daskmgrit.planning import measure


class TwoWorkersOfOneProcess:
    """Answers as a client does."""

    def run_on_scheduler(self, function):
        return function()

    def run(self, function):
        return {f"tcp://127.0.0.1:{port}": function() for port in (1, 2)}


@pytest.mark.parametrize("here", [True, False])
def test_a_process_with_several_workers_counts_once(here, monkeypatch):
    if not here:
        pids = iter([-1])
        real = os.getpid
        # The first to ask is the client.
        monkeypatch.setattr(os, "getpid", lambda: next(pids, real()))
    times = measure._times(TwoWorkersOfOneProcess())
    assert len(times) == 2
    assert "scheduler" in times
