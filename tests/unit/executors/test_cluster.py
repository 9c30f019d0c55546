"""The executor of a cluster, with a client whose answers are given."""

import contextvars
import pickle
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest
from distributed import KilledWorker

from daskmgrit.errors import ClusterError
from daskmgrit.executors import cluster
from daskmgrit.executors.cancellation import Stop, Stopped, with_stop
from daskmgrit.executors.cluster import ClusterExecutor
from daskmgrit.executors.preflight import AllWorkersLost
from daskmgrit.graph.submission import TaskBook, stand_in
from tests.support.scripted import Clock, ScriptedClient, ScriptedFuture, view, worker

A, B, C = "tcp://a:1", "tcp://b:1", "tcp://c:1"
FINE = view({A: worker(running=True), B: worker(running=True)})


def fetch(future, client=None, **how):
    executor = ClusterExecutor(client or ScriptedClient(FINE), 20)
    return executor.fetch(stand_in("key", future), "the residual", **how)


def test_a_result_is_forgotten_once_fetched_unless_it_is_needed_again():
    future = ScriptedFuture(3)
    assert (fetch(future), future.released) == (3, 1)
    future = ScriptedFuture(3)
    assert (fetch(future, again=True), future.released) == (3, 0)


def test_a_wait_looks_at_the_cluster_and_plans_on_new_workers():
    client = ScriptedClient(view({A: worker(running=True), C: worker(running=True)}))
    executor = ClusterExecutor(client, 20)
    assert (executor.workers, executor.threads, executor.hosts) == ([A, B], [2, 1], 2)
    assert executor.fetch(stand_in("key", ScriptedFuture(3, waits=[TimeoutError()])), "x") == 3
    assert executor.workers == [A, C]


def test_workers_that_changed_are_seen_before_a_graph_is_sent(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cluster, "time", clock)
    client = ScriptedClient(FINE)
    executor = ClusterExecutor(client, 20)
    client.threads = {B: 1, C: 1}
    executor.submit(TaskBook(), [])
    assert executor.workers == [A, B]
    clock.now += cluster.RENEWAL + 1
    executor.submit(TaskBook(), [])
    assert executor.workers == [C, B]
    # A scheduler that does not answer is for the wait to find.
    clock.now += cluster.RENEWAL + 1
    client.nthreads = lambda: (_ for _ in ()).throw(TimeoutError)
    executor.submit(TaskBook(), [])
    assert len(client.sent) == 1 + 3


def test_a_result_on_a_worker_that_does_not_answer():
    future = ScriptedFuture(TimeoutError(), 3)
    assert fetch(future) == 3
    with pytest.raises(ClusterError, match="the residual is on a worker but could not be fetched"):
        fetch(ScriptedFuture(TimeoutError(), TimeoutError()))


def test_a_result_on_a_worker_that_is_given_up():
    """The client may hear late, after the worker is gone, that the result is to be made again."""
    silent = view({A: worker(running=True), B: worker(silent=21)})
    client = ScriptedClient(silent, silent, FINE)
    assert fetch(ScriptedFuture(TimeoutError(), TimeoutError(), TimeoutError(), 3), client) == 3
    assert client.asked == [("restart", B)]
    with pytest.raises(ClusterError, match="the residual is on a worker but could not be fetched"):
        fetch(ScriptedFuture(*[TimeoutError()] * 4), ScriptedClient(silent, silent, FINE, FINE))


def test_a_time_out_of_phi_is_no_time_out_of_the_wait():
    future = ScriptedFuture(TimeoutError("phi's own"))
    future.status = "error"
    with pytest.raises(TimeoutError, match="phi's own"):
        fetch(future)
    assert future.released == 1


def test_a_result_that_the_cluster_lost():
    with pytest.raises(ClusterError, match="the cluster lost the residual and cannot compute it again"):
        fetch(ScriptedFuture(CancelledError()))


def test_a_task_that_kills_its_workers():
    future = ScriptedFuture(KilledWorker("relax", SimpleNamespace(address=A), 3))
    with pytest.raises(ClusterError, match=r"gave up the task relax.*4 workers died.*the last tcp://a:1"):
        fetch(future)
    assert future.released == 1


def test_an_error_of_phi_is_passed_on_and_not_kept():
    future = ScriptedFuture(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fetch(future)
    assert future.released == 1


def test_a_wait_that_is_asked_to_end():
    stop = Stop()
    future = ScriptedFuture(CancelledError())
    # Releasing the future is what wakes the wait.
    future.exception = lambda timeout: stop.ask()

    def solve():
        with_stop(stop)
        with pytest.raises(Stopped):
            fetch(future)

    contextvars.copy_context().run(solve)
    assert future.released == 1


def test_a_value_is_sent_as_bytes_to_its_worker_behind_a_task_that_is_planned_on_none():
    client = ScriptedClient(FINE)
    executor = ClusterExecutor(client, 20)
    for key in ("phi", "w0"):
        executor.put({"of": key}, key, owner=1)
    root, *sent = client.sent
    assert ["workers" in (layer.annotations or {}) for layer in root.layers.values()] == [False]
    for graph, key in zip(sent, ("phi", "w0"), strict=True):
        (layer,) = [layer for layer in graph.layers.values() if key in layer]
        assert layer.annotations["workers"] == [B]
        assert layer.annotations["allow_other_workers"]
        assert len(layer[key].dependencies) == 1
        pickled = [value for value in layer[key].args if isinstance(value, bytes)]
        assert [pickle.loads(value) for value in pickled] == [{"of": key}]


def test_workers_that_leave_when_a_solve_begins(monkeypatch):
    """Idle workers of an adaptive cluster may: others come for the task that was sent."""
    client = ScriptedClient(FINE)
    executor = ClusterExecutor(client, 20)
    checks = [AllWorkersLost("every worker was lost"), None]

    def check(client_, phi, patience, workers):
        client.threads = {C: 3}
        if (outcome := checks.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(cluster, "check_cluster", check)
    executor.check(None)
    assert (executor.workers, executor.threads, executor.hosts) == ([C], [3], 1)
    checks[:] = [AllWorkersLost("every worker was lost")] * 2
    with pytest.raises(ClusterError, match="every worker was lost"):
        executor.check(None)


def test_a_task_is_sent_before_workers_are_waited_for():
    client = ScriptedClient()
    client.nthreads = lambda: {A: 1} if client.sent else {}
    client.wait_for_workers = lambda count, timeout: pytest.fail("no worker came")
    assert ClusterExecutor(client, 20).workers == [A]


def test_no_workers_and_none_that_come(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cluster, "time", clock)
    client = ScriptedClient()
    client.threads = {}

    def wait_for_workers(count, timeout):
        clock.now += timeout
        raise TimeoutError

    client.wait_for_workers = wait_for_workers
    with pytest.raises(ClusterError, match="has no workers and none came within 20 s"):
        ClusterExecutor(client, 20)
    assert clock.now == pytest.approx(1020)


def test_a_scheduler_that_does_not_answer():
    client = ScriptedClient()
    client.nthreads = lambda: (_ for _ in ()).throw(TimeoutError)
    with pytest.raises(ClusterError, match=r"did not answer for 20 s: .* increase timeout="):
        ClusterExecutor(client, 20)
