"""dask.annotate around a solve: where its tasks may run, how often they are tried."""

import threading
from typing import ClassVar

import dask
import numpy as np
import pytest
from distributed import Client, Scheduler, SpecCluster, Worker, get_worker

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

STEPS = 32
METHODS = pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])


@pytest.fixture(scope="module")
def mixed():
    """Workers of this process: two with a resource, one without."""
    there = {"host": "127.0.0.1"}
    workers = {
        "with-1": {"cls": Worker, "options": there | {"nthreads": 1, "resources": {"GPU": 1}}},
        "with-2": {"cls": Worker, "options": there | {"nthreads": 4, "resources": {"GPU": 3}}},
        "without": {"cls": Worker, "options": there | {"nthreads": 2}},
    }
    with SpecCluster(workers=workers, scheduler={"cls": Scheduler, "options": there | {"dashboard": False}}) as cluster:
        yield cluster


@pytest.fixture
def client(mixed):
    Noted.seen, Noted.failed = set(), 0
    with Client(mixed) as client:
        client.wait_for_workers(3)
        yield client


class Noted(Decay):
    """Notes the workers that it runs on, and fails the first times that it is called."""

    seen: ClassVar[set] = set()
    failed = 0
    lock = threading.Lock()

    def __init__(self, failures=0):
        super().__init__()
        self.failures = failures

    def __call__(self, weights, index, level):
        with Noted.lock:
            Noted.seen.add(get_worker().name)
            if Noted.failed < self.failures:
                Noted.failed += 1
                raise ConnectionError("the database does not answer")
        return super().__call__(weights, index, level)


def solve(client, method, w0, timeout=60, **how):
    with dask.annotate(**how):
        result = method(Noted(), STEPS).solve(w0, client=client, timeout=timeout)
    assert np.allclose(result.final, dm.train_serially(Decay(), w0, STEPS)[-1], atol=1e-4)


@METHODS
@pytest.mark.parametrize(
    ("how", "allowed"),
    [
        ({"resources": {"GPU": 1}}, {"with-1", "with-2"}),
        ({"resources": {"GPU": 2}}, {"with-2"}),
        ({"workers": ["without"]}, {"without"}),
        ({"workers": "with-1"}, {"with-1"}),
        ({"workers": ["with-1", "without"], "resources": {"GPU": 1}}, {"with-1"}),
        ({"workers": ["missing"], "allow_other_workers": True}, {"with-1", "with-2", "without"}),
        ({"workers": ["127.0.0.1"]}, {"with-1", "with-2", "without"}),
    ],
)
def test_tasks_run_where_they_may(client, w0, method, how, allowed):
    solve(client, method, w0, **how)
    assert Noted.seen
    assert Noted.seen <= allowed


def test_an_address(client, w0):
    address = next(address for address, name in client.run(lambda dask_worker: dask_worker.name).items() if "1" in name)
    solve(client, dm.MGRIT, w0, workers=[address])
    assert Noted.seen == {"with-1"}


@METHODS
@pytest.mark.parametrize(
    "how",
    [{"resources": {"FPGA": 1}}, {"resources": {"GPU": 4}}, {"workers": ["missing"]}],
    ids=["what", "much", "who"],
)
def test_what_no_worker_offers_is_named(client, w0, method, how):
    with pytest.raises(dm.ClusterError) as caught:
        solve(client, method, w0, timeout=2, **how)
    (value,) = how.values()
    assert str(value) in str(caught.value)
    assert "resources {'GPU': 3}" in str(caught.value)
    assert not Noted.seen


@METHODS
@pytest.mark.parametrize("name", ["workers", "resources"])
def test_functions_of_the_task_are_refused(client, w0, method, name):
    with pytest.raises(ValueError, match=f"dask.annotate\\({name}="):
        solve(client, method, w0, **{name: lambda key: ["without"]})


@METHODS
def test_no_workers_are_refused(client, w0, method):
    with pytest.raises(ValueError, match=r"dask.annotate\(workers=\[\]\) names no worker"):
        solve(client, method, w0, workers=[])
    assert not Noted.seen


@METHODS
@pytest.mark.parametrize("resources", [{"GPU": 0}, {"GPU": -1}, {"GPU": float("nan")}, {"GPU": "1"}])
def test_resources_that_are_no_amounts(client, w0, method, resources):
    with pytest.raises(ValueError, match=r"dask.annotate\(resources=.*'GPU' is not a number above 0"):
        solve(client, method, w0, resources=resources)
    assert not Noted.seen


@METHODS
def test_retries(client, w0, method):
    phi = Noted(failures=2)
    with dask.annotate(retries=2):
        assert method(phi, STEPS).solve(w0, client=client).reason == "tol"
    assert Noted.failed == 2
    Noted.failed = 0
    with pytest.raises(ConnectionError):
        method(phi, STEPS).solve(w0, client=client)


def test_small_tasks_come_before_others_of_the_same_solve(client, w0):
    seen = []

    def note(dask_scheduler):
        return {str(key): ts.annotations.get("priority", 0) for key, ts in dask_scheduler.tasks.items()}

    def callback(iteration, residual, weights):
        seen.append(client.run_on_scheduler(note))

    with dask.annotate(priority=5), dask.config.set({"daskmgrit.agglomerate": 99}):
        dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=3, callback=callback, maxiter=2)
    priorities = {key: priority for keys in seen for key, priority in keys.items()}
    assert {priority for key, priority in priorities.items() if key.startswith("relax")} == {5}
    assert {priority for key, priority in priorities.items() if key.startswith(("edge", "residual"))} == {6}


def test_workers_with_the_resource_that_are_lost(mixed, client, w0):
    """Others, which are there, may not do their work; the error says what they lack."""
    lacking = {
        address for address, name in client.run(lambda dask_worker: dask_worker.name).items() if name == "without"
    }

    def leave(iteration, residual, weights):
        if iteration == 1:
            client.retire_workers(list(set(client.nthreads()) - lacking))
            wait_for(lambda: set(client.nthreads()) == lacking)

    with dask.annotate(resources={"GPU": 1}), pytest.raises(dm.ClusterError, match=r"asks for .*resources \{'GPU': 1"):
        dm.MGRIT(Decay(), STEPS).solve(w0, client=client, timeout=2, tol=0, maxiter=9, callback=leave)
