"""A large Phi is sent to a cluster once, shared by solves and results, and freed with the object."""

import gc
import sys
import time

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

STEPS = 32
METHODS = pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])


class Large(Decay):
    """Holds arrays of two megabytes."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.factors = np.full(1 << 18, scale)

    def __call__(self, weights, index, level):
        return self.factors[0] * super().__call__(weights, index, level)


class Equal(Large):
    """One that cannot be hashed."""

    __hash__ = None

    def __eq__(self, other):
        return True


class Slotted:
    """One to which there are no weak references."""

    __slots__ = ("factors",)

    def __init__(self):
        self.factors = np.ones(1 << 18)

    def __call__(self, weights, index, level):
        return 0.9 * weights


class SlowToLoad(Large):
    """Takes longer to make again than a solve takes to ask for it."""

    def __setstate__(self, state):
        time.sleep(0.3)
        self.__dict__.update(state)


def sent(client):
    """Keys of the propagators that the scheduler knows."""

    def keys(dask_scheduler):
        return [key for key in dask_scheduler.tasks if str(key).startswith("propagator-")]

    return client.run_on_scheduler(keys)


def forgotten(client):
    gc.collect()
    return not sent(client)


@METHODS
@pytest.mark.parametrize("make", [Large, Equal])
def test_it_is_sent_once_and_freed_with_its_object(client, w0, method, make):
    phi = make()
    kept = [method(phi, STEPS).solve(w0, client=client) for _ in range(3)]
    assert len(sent(client)) == 1
    assert all(np.array_equal(result.final, kept[0].final) for result in kept)
    kept.clear()
    gc.collect()
    assert len(sent(client)) == 1
    del phi
    wait_for(lambda: forgotten(client))


@METHODS
def test_one_that_was_changed_is_sent_anew(client, w0, method):
    phi = Large()
    for scale in (1.0, 0.5):
        phi.factors[:] = scale
        result = method(phi, STEPS).solve(w0, client=client)
        assert np.allclose(result.final, dm.train_serially(phi, w0, STEPS)[-1], atol=1e-4)
    del result
    wait_for(lambda: gc.collect() is not None and len(sent(client)) == 1)


def test_an_equal_one_is_not_the_same(client, w0):
    one, other = Large(), Large()
    kept = [dm.MGRIT(phi, STEPS).solve(w0, client=client) for phi in (one, other)]
    assert len(sent(client)) == len(kept)


@pytest.mark.parametrize("make", [Decay, Slotted])
def test_others_are_sent_for_each_solve_and_go_with_it(client, w0, make):
    phi = make()
    assert dm.MGRIT(phi, STEPS).solve(w0, client=client).converged
    wait_for(lambda: forgotten(client))


def test_its_arrays_may_be_written_on_workers(client, w0):
    class Scratch(Large):
        def __call__(self, weights, index, level):
            self.factors[1] = 3.0
            return super().__call__(weights, index, level)

    assert dm.MGRIT(Scratch(), STEPS).solve(w0, client=client).converged


def test_one_that_the_workers_cannot_load(client, w0, tmp_path, monkeypatch):
    (tmp_path / "large_here.py").write_text(
        "import numpy as np\n\nclass Phi:\n    def __init__(self):\n        self.a = np.ones(1 << 18)\n\n"
        "    def __call__(self, weights, index, level):\n        return 0.9 * weights\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    phi = importlib.import_module("large_here").Phi()
    with pytest.raises(dm.ClusterError, match=r"cannot be loaded on .*No module named 'large_here'.*upload_file"):
        dm.MGRIT(phi, STEPS).solve(w0, client=client)
    del sys.modules["large_here"]


def test_annotations_are_those_of_the_solve(client, w0):
    """Dask keeps what a task was annotated with: on a restricted worker no other solve may depend."""
    phi = Large()
    dm.MGRIT(phi, STEPS).solve(w0, client=client)
    with dask.annotate(retries=1):
        again = dm.MGRIT(phi, STEPS).solve(w0, client=client)
    keys = sent(client)
    retries = client.run_on_scheduler(lambda dask_scheduler: [dask_scheduler.tasks[key].retries for key in keys])
    assert again.converged
    assert retries[-1] == 1


@pytest.mark.parametrize("make", [Large, SlowToLoad])
def test_it_survives_the_loss_of_all_workers(w0, make):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        phi = make()
        first = dm.MGRIT(phi, STEPS).solve(w0, client=client)
        cluster.scale(0)
        wait_for(lambda: not client.nthreads())
        cluster.scale(1)
        again = dm.MGRIT(phi, STEPS).solve(w0, client=client, timeout=60)
        assert np.array_equal(first.final, again.final)
        assert len(sent(client)) == 1
        # In one process, its memory is still its own.
        phi.factors[:] = 0.0
        assert np.array_equal(again.weights[-1].compute(), again.final)
