"""Solves within Dask tasks: they leave their slot while they wait, so that sweeps over settings end."""

import threading

import dask
import numpy as np
import pytest
from distributed import futures_of, get_client, get_worker, secede, worker_client

import daskmgrit as dm
from daskmgrit.executors.scheduler_calls import look
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

STEPS = 32
# More tasks than the cluster has slots.
MANY = 4
METHODS = pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])


def solve(method, scale, **how):
    return method(Decay(), STEPS).solve(np.full(3, float(scale)), timeout=60, **how)


def serially(scale):
    return dm.train_serially(Decay(), np.full(3, float(scale)), STEPS)[-1]


def on_the_cluster(scale, method=dm.MGRIT):
    return solve(method, scale, client=get_client())


def sweep(count, method):
    with worker_client() as client:
        futures = client.map(lambda scale: on_the_cluster(scale, method).final, range(1, count + 1), pure=False)
        return client.gather(futures)


@METHODS
def test_a_sweep_over_settings(client, method):
    futures = client.map(lambda scale: on_the_cluster(scale, method), range(1, MANY + 1), pure=False)
    for scale, result in enumerate(client.gather(futures, errors="raise"), 1):
        assert result.reason == "tol"
        assert np.allclose(result.final, serially(scale), atol=1e-4)


@METHODS
def test_a_sweep_of_sweeps(client, method):
    counts = [2, 3, 1]
    for count, finals in zip(counts, client.gather(client.map(sweep, counts, method=method, pure=False)), strict=True):
        assert [np.allclose(final, serially(k), atol=1e-4) for k, final in enumerate(finals, 1)] == [True] * count


class Within(Decay):
    """A Phi that solves on the cluster whenever it is called."""

    def __call__(self, weights, index, level):
        dm.MGRIT(Decay(), 4).solve(np.ones(2), client=get_client(), timeout=60)
        return super().__call__(weights, index, level)


def test_a_solve_within_the_tasks_of_a_solve(client):
    result = dm.MGRIT(Within(), 8).solve(np.ones(3), client=client, chunks=2, maxiter=1, timeout=60)
    assert result.iterations == 1


def test_an_error_of_phi_within_a_task(client):
    def fails(weights, index, level):
        raise ZeroDivisionError

    def task():
        with pytest.raises(ZeroDivisionError):
            dm.MGRIT(fails, STEPS).solve(np.ones(3), client=get_client(), timeout=60)
        return on_the_cluster(1).reason

    assert client.gather(client.map(lambda _: task(), range(3), pure=False)) == ["tol"] * 3


def test_an_asynchronous_task(client):
    async def task(scale):
        result = await solve(dm.MGRIT, scale, client=get_client())
        return result.reason

    assert client.gather(client.map(task, range(1, MANY + 1), pure=False)) == ["tol"] * MANY


def held(method, how):
    """Whether the weights of a plain solve are on the cluster."""
    return bool(futures_of(solve(method, 1, **how).weights))


@METHODS
@pytest.mark.parametrize("asked", [False, True])
def test_a_plain_solve_in_a_task_runs_on_threads_whatever_tasks_did_before(client, method, asked):
    """The client that get_client() makes is the worker's, so it would depend on which tasks ran there before."""

    def ask():
        return bool(get_client())

    def task():
        if asked:
            get_client()
        return held(method, {"keep": "all"} if method is dm.ParallelNewton else {})

    def in_a_thread():
        found = []
        thread = threading.Thread(target=lambda: found.append(task()))
        thread.start()
        thread.join()
        return found

    if asked:
        for worker in client.nthreads():
            assert client.submit(ask, workers=[worker], pure=False).result(timeout=60)
    assert client.gather(client.map(lambda _: task(), range(MANY), pure=False)) == [False] * MANY
    if not asked:
        assert client.submit(in_a_thread, pure=False).result(timeout=60) == [False]


def test_a_task_may_choose_the_cluster(client):
    def by_worker_client():
        with worker_client():
            return held(dm.MGRIT, {})

    def by_as_current():
        with get_client().as_current():
            return held(dm.MGRIT, {})

    def by_configuration():
        with dask.config.set(scheduler=get_client()):
            return held(dm.MGRIT, {})

    for choice in (by_worker_client, by_as_current, by_configuration):
        assert client.gather(client.map(lambda _, choice=choice: choice(), range(3), pure=False)) == [True] * 3


def test_a_task_that_left_its_slot_stays_so(client):
    def task():
        from distributed.threadpoolexecutor import thread_state

        secede()
        on_the_cluster(1)
        return thread_state.proceed

    assert client.submit(task, pure=False).result(timeout=60) is False


def test_a_result_may_leave_its_task(client):
    """With weights that are on the cluster."""
    task = client.submit(on_the_cluster, 1, pure=False)
    result = task.result(timeout=60)
    assert np.array_equal(result.weights[-1].compute(), result.final)
    task.release()


def test_a_task_that_waits_without_its_slot_is_not_taken_for_one_that_runs(client):
    """Else a solve in it would wait for itself."""

    def waits(gate):
        with worker_client():
            wait_for(gate.is_set)

    def running():
        return [w.running for w in look(client, 30, "none").workers.values()]

    from distributed import Event

    gate = Event("daskmgrit-gate", client=client)
    future = client.submit(waits, gate, key="daskmgrit-waits", pure=False)
    address = wait_for(
        lambda: client.run_on_scheduler(
            lambda dask_scheduler: [ws.address for ws in dask_scheduler.workers.values() if ws.long_running]
        )
    )
    wait_for(lambda: not any(running()))
    # What is waited for itself is at work.
    wait_for(lambda: look(client, 30, "daskmgrit-waits").workers[address[0]].running)
    gate.set()
    future.result(timeout=60)


def test_a_method_of_an_actor(client):
    class Trainer:
        def train(self):
            assert get_worker()
            return on_the_cluster(1).reason

    actor = client.submit(Trainer, actor=True, pure=False).result(timeout=60)
    assert actor.train().result(timeout=60) == "tol"


def in_a_thread():
    """Start a thread that solves, and wait for it in the task's slot."""
    client, ends = get_client(), []

    def run():
        try:
            ends.append(dm.MGRIT(Decay(), STEPS).solve(np.ones(3), client=client, timeout=2).reason)
        except dm.ClusterError as error:
            ends.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return ends


def test_a_thread_that_a_task_waits_for(client):
    """It has no slot to leave, so what is planned on the task's worker may never run."""
    [end] = client.submit(in_a_thread, pure=False).result(timeout=60)
    assert end.startswith("nothing has run for 2 s")
    assert "other tasks hold the slots of its workers" in end
