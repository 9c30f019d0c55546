"""What solves leave on the scheduler and in the client: counts that are not to grow with each solve."""

import gc
import time

import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

STEPS = 32


class Slow(Decay):
    """Takes longer than a wait does before it looks around."""

    def __call__(self, weights, index, level):
        time.sleep(1.2 * (level == 0) * (0 in index))
        return super().__call__(weights, index, level)


def mgrit(client, w0):
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)


def c_points(client, w0):
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2, storage="c-points", callback=lambda *what: None)


def newton(client, w0):
    dm.ParallelNewton(Decay(), STEPS).solve(w0, client=client, keep="all")


def slow(client, w0):
    dm.MGRIT(Slow(), STEPS).solve(w0, client=client, maxiter=1)


def slow_newton(client, w0):
    dm.ParallelNewton(Slow(), 8, window=8).solve(w0, client=client)


def fails(client, w0):
    def phi(weights, index, level):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dm.MGRIT(phi, STEPS).solve(w0, client=client)


def fails_late(client, w0):
    def phi(weights, index, level):
        if level == 0 and STEPS - 1 in index:
            raise ZeroDivisionError
        return 0.5 * weights

    with pytest.raises(ZeroDivisionError):
        dm.MGRIT(phi, STEPS).solve(w0, client=client, chunks=2)


def newton_fails(client, w0):
    def phi(weights, index, level):
        if STEPS - 1 in index:
            raise ZeroDivisionError
        return 0.5 * weights

    with pytest.raises(ZeroDivisionError):
        dm.ParallelNewton(phi, STEPS, window=8).solve(w0, client=client, keep="all")


@pytest.fixture(scope="module", autouse=True)
def older_objects_are_not_looked_at():
    """What earlier tests left can be a million objects, which each collection of garbage would go through."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


SOLVES = pytest.mark.parametrize("solve", [mgrit, c_points, newton, fails, fails_late, newton_fails])


@pytest.fixture(scope="module")
def here():
    """A cluster whose scheduler and worker are in this process, so that what they keep can be counted."""
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture
def client(here):
    with Client(here) as client:
        yield client


@pytest.mark.parametrize("solve", [mgrit, c_points, newton, fails, fails_late, newton_fails, slow, slow_newton])
def test_futures_go_with_the_result_not_with_the_next_garbage_collection(client, w0, solve):
    """They keep memory on workers, and the workers of an adaptive cluster."""
    gc.collect()
    gc.disable()
    try:
        solve(client, w0)
        wait_for(lambda: not client.futures, seconds=20)
    finally:
        gc.enable()


def test_futures_go_where_workers_were_waited_for(w0):
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=0, maximum=1, interval="1200ms", wait_count=1)
        gc.disable()
        try:
            dm.MGRIT(Decay(), STEPS).solve(w0, client=client, timeout=60)
            wait_for(lambda: not client.futures, seconds=20)
        finally:
            gc.enable()


def kept(cluster):
    """What a scheduler keeps of tasks that are gone, where Dask sets no bound."""
    scheduler = cluster.scheduler
    return {
        "tasks": len(scheduler.tasks),
        "groups": len(scheduler.task_groups),
        "prefixes": len(scheduler.task_prefixes),
        "spans": len(scheduler.extensions["spans"].spans),
    }


def idle(cluster):
    """Whether its scheduler has no task; an error that was raised holds some until garbage is collected."""
    gc.collect()
    return not cluster.scheduler.tasks


@SOLVES
def test_a_scheduler_keeps_one_span_of_a_solve(here, client, w0, solve):
    count = 3
    solve(client, w0)
    wait_for(lambda: idle(here))
    before = kept(here)
    for _ in range(count):
        solve(client, w0)
        wait_for(lambda: idle(here))
    after = kept(here)
    assert after["spans"] - before["spans"] <= count
    assert {name: after[name] for name in ("tasks", "groups", "prefixes")} == {
        name: before[name] for name in ("tasks", "groups", "prefixes")
    }


@SOLVES
def test_no_object_of_a_solve_is_kept(client, w0, solve):
    """In the client; what the page shows of the last runs, and what threads learnt in them, has a bound."""

    def count():
        gc.collect()
        ours = ("solver", "graph", "executors", "multigrid", "newton", "recurrence", "checkpoint")
        rooms = tuple(f"daskmgrit.{room}." for room in ours)
        bounded = "daskmgrit.graph.thread_habit"
        modules = [str(type(each).__module__) for each in gc.get_objects()]
        return sum(module.startswith(rooms) and module != bounded for module in modules)

    solve(client, w0)
    wait_for(lambda: not client.futures)
    before = count()
    for _ in range(3):
        solve(client, w0)
    wait_for(lambda: count() <= before, "no more objects than before", seconds=20)


def test_tasks_are_in_the_span_of_the_user(here, client, w0):
    from distributed import span

    known = set(here.scheduler.extensions["spans"].spans)
    with span("sweep") as wanted:
        mgrit(client, w0)
    assert set(here.scheduler.extensions["spans"].spans) - known == {wanted}
