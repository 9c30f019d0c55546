"""Every wait ends: what is done about workers and schedulers that stopped, with a clock that a test turns."""

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest

from daskmgrit.errors import ClusterError
from daskmgrit.executors import watchdog
from daskmgrit.executors.scheduler_calls import announce_lost, free, look, restart
from daskmgrit.executors.watchdog import Watchdog, absence, excuse
from tests.support.scripted import Clock, ScriptedClient, scheduler, view, worker

A, B = "tcp://a:1", "tcp://b:1"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def warnings(caplog):
    caplog.set_level(logging.WARNING, "daskmgrit")
    return caplog


def look_at(watch, clock, *seconds):
    """Look at these times from now on; returns what the last look gives."""
    begin, found = clock.now, None
    for second in seconds:
        clock.now = begin + second
        found = watch.look()
    return found


def test_a_cluster_at_work_is_left_alone(clock, warnings):
    client = ScriptedClient(view({A: worker(running=True), B: worker(silent=0.5)}))
    assert look_at(Watchdog(client, 20, "x"), clock, *range(0, 200, 10)) == [A, B]
    assert (client.asked, warnings.messages) == ([], [])


def test_a_wait_that_lasts_ten_times_as_long_as_usual_is_told_once(clock, warnings):
    client = ScriptedClient(view({A: worker(running=True), B: worker()}))
    watch = Watchdog(client, 20, "sweep 7", usual=2.0)
    look_at(watch, clock, 0, 6, 19)
    assert warnings.messages == []
    look_at(watch, clock, 2, 100)
    told = f"waiting for sweep 7 for 21 s, where 2 s are usual: phi may hang or be slow on {A}"
    assert warnings.messages == [told]


def test_a_cancelled_task_that_goes_on_is_told_once(clock, warnings):
    """It is no reason to give up: phi may take long, and a thread cannot leave it."""
    client = ScriptedClient(view({A: worker(running=True, cancelled=True), B: worker()}))
    watch = Watchdog(client, 20, "sweep 1")
    look_at(watch, clock, 0, 5)
    assert warnings.messages == []
    assert look_at(watch, clock, 1, 500) == [A, B]
    (told,) = warnings.messages
    assert told.startswith(f"waiting for sweep 1; a task that was cancelled still runs on {A}: ")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (TimeoutError(), "the scheduler did not answer for 20 s while waiting for the residual"),
        (OSError("no route"), "the connection to the scheduler was lost while waiting for the residual: no route"),
    ],
)
def test_a_scheduler_that_does_not_answer(clock, failure, words):
    with pytest.raises(ClusterError, match=words):
        Watchdog(ScriptedClient(failure), 20, "the residual").look()


def test_a_client_that_lost_its_scheduler(clock):
    client = ScriptedClient(view({}))
    client.status = "connecting"
    with pytest.raises(ClusterError, match="client status 'connecting'"):
        Watchdog(client, 20, "x").look()


def test_workers_that_do_not_come_back(clock, warnings):
    client = ScriptedClient(view({}))
    client.cluster = SimpleNamespace(patience=100.0, explain=lambda: "3 jobs pending")
    watch = Watchdog(client, 20, "x", absence(client, 20))
    look_at(watch, clock, 0, 24)
    assert warnings.messages == []
    look_at(watch, clock, 2, 20)
    assert warnings.messages == ["the cluster has no workers while waiting for x; giving up in 74 s"]
    with pytest.raises(ClusterError, match=r"none came within 100 s while waiting for x \(3 jobs pending\)"):
        look_at(watch, clock, 60)


def test_workers_that_come_back(clock, warnings):
    client = ScriptedClient(view({}), view({}), view({A: worker(running=True)}), view({}))
    watch = Watchdog(client, 20, "x")
    look_at(watch, clock, 0, 15, 30, 45)
    with pytest.raises(ClusterError, match="within 20 s"):
        look_at(watch, clock, 10, 30)
    assert len(warnings.messages) == 2


def test_a_cluster_that_can_say_nothing():
    assert (absence(object(), 7), excuse(object())) == (7.0, "")
    silent = SimpleNamespace(cluster=SimpleNamespace(explain=lambda: ""))
    assert excuse(silent) == ""


def test_a_worker_that_stopped_is_given_up_when_seen_twice(clock, warnings):
    quiet = view({A: worker(running=True), B: worker(silent=6)})
    late = view({A: worker(running=True), B: worker(silent=21)})
    client = ScriptedClient(quiet, quiet, late, late, quiet)
    watch = Watchdog(client, 20, "x")
    look_at(watch, clock, 0, 1)
    assert [f"{B} has not answered for 6 s" in message for message in warnings.messages] == [True]
    look_at(watch, clock, 1)
    assert client.asked == []
    look_at(watch, clock, 1)
    assert client.asked == [("restart", B)]


def test_an_idle_worker_may_be_silent(clock, warnings):
    client = ScriptedClient(view({A: worker(running=True), B: worker(silent=99, involved=False)}))
    look_at(Watchdog(client, 20, "x"), clock, 0, 1, 2)
    assert (client.asked, warnings.messages) == ([], [])


def test_workers_that_all_stop_again_and_again(clock):
    client = ScriptedClient(view({A: worker(silent=21)}))
    watch = Watchdog(client, 20, "x")
    with pytest.raises(ClusterError, match="not answered for 21 s, like 3 before it"):
        look_at(watch, clock, *range(10))
    assert client.asked == [("restart", A)] * 3


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (view({A: worker(status="paused", memory=0.81), B: worker()}), r"tcp://a:1 \(81%\) is paused"),
        (view({A: worker(), B: worker()}, waits=[(A, B, "relax")]), f"worker {A} waits for data of {B}.*relax"),
        (view({A: worker(), B: worker()}), "has given no worker a task"),
        (view({A: worker()}, stranded="x, which asks for resources"), "no worker may run x, which asks for resources"),
    ],
)
def test_a_cluster_where_nothing_runs(clock, warnings, found, words):
    watch = Watchdog(ScriptedClient(found), 20, "x")
    look_at(watch, clock, 0, 1, 10)
    assert len(warnings.messages) == 1
    with pytest.raises(ClusterError, match=f"nothing has run for 20 s while waiting for x: .*{words}"):
        look_at(watch, clock, 12)


def test_progress_begins_the_wait_anew(clock):
    still = [view({A: worker()}, moves) for moves in (1, 1, 2, 2)]
    watch = Watchdog(ScriptedClient(*still), 20, "x")
    look_at(watch, clock, 0, 1, 20, 22, 41)
    with pytest.raises(ClusterError, match="nothing has run"):
        look_at(watch, clock, 2)


def test_tasks_that_no_worker_may_run_are_freed(clock):
    client = ScriptedClient(view({A: worker()}, stranded="x, which asks for resources {'GPU': 1}"))
    look_at(Watchdog(client, 20, "x"), clock, 0, 1)
    assert client.asked == [("free",)]


def test_a_lost_worker_is_announced_once_more_where_nothing_runs(clock, warnings):
    """A worker may try for half a minute to connect to it."""
    both, one, busy = view({A: worker(), B: worker()}), view({A: worker()}, 1), view({A: worker(running=True)}, 1)
    client = ScriptedClient(both, busy, busy, one, one, one, one)
    known = set()
    watch = Watchdog(client, 20, "x", known=known)
    look_at(watch, clock, 0, 1, 2)
    assert (client.asked, known) == ([], {A, B})
    look_at(watch, clock, 1, 2, 3)
    assert client.asked == [("announce", [B])]
    # The next wait may be the first to see that nothing runs.
    client = ScriptedClient(one)
    look_at(Watchdog(client, 20, "y", known=known), clock, 0, 1, 2)
    assert client.asked == [("announce", [B])]
    assert warnings.messages == []


# -- what runs on the scheduler ------------------------------------------------------------------------------------


def state(address, *, seen=0.0, tasks=(), data=(), executing=(), metrics=None, limit=100, status="running", left=()):
    return SimpleNamespace(
        address=address,
        status=SimpleNamespace(name=status),
        last_seen=time.time() - seen,
        processing=list(tasks),
        has_what=list(data),
        executing=list(executing),
        long_running=set(left),
        metrics={"memory": 40} if metrics is None else metrics,
        memory_limit=limit,
    )


def seen_on(key=None, held=False, **how):
    """The view of a scheduler in this process."""
    client = ScriptedClient()
    client.run_on_scheduler = lambda function, *args: function(*args, dask_scheduler=scheduler(**how))
    return look(client, 1, key, held)


def test_the_view_of_a_worker():
    busy = state(A, seen=3, tasks=["task"], executing=["task"], metrics={"memory": 40})
    leaving = state(B, metrics={"task_counts": {"cancelled": 1}}, limit=0, status="paused")
    found = seen_on(workers=(busy, leaving))
    assert (found.moves, found.stranded, found.waits) == (7, "", [])
    assert found.workers[A][0] == "running"
    assert found.workers[A].silent == pytest.approx(3, abs=1)
    assert found.workers[A][2:] == (True, True, 0.4, False)
    # A thread that cannot leave a cancelled task is at work.
    assert found.workers[B][2:] == (False, True, 0.0, True)


class Task:
    """A task as the scheduler has it."""

    def __init__(self, *dependencies, who_has=()):
        self.dependencies, self.who_has = dependencies, who_has


def test_the_view_of_a_task_that_left_its_slot():
    """It waits for others, unless the wanted result depends on it."""
    done, other = Task(who_has=[B]), Task()
    left = Task(done)
    wanted = Task(Task(left), done)
    workers = [state(A, executing=[left], left=[left]), state(B, executing=[other])]
    for key, running in ((None, False), ("gone", False), ("wanted", True)):
        found = seen_on(key, workers=workers, tasks={"wanted": wanted})
        assert (found.workers[A].running, found.workers[B].running) == (running, True)
        # Where a task may hold its slot until the result is there, only what the result needs is progress.
        found = seen_on(key, held=True, workers=workers, tasks={"wanted": wanted})
        assert (found.workers[A].running, found.workers[B].running) == (running, False)


def test_a_wait_for_slots_that_tasks_hold(clock):
    watch = Watchdog(ScriptedClient(view({A: worker()})), 20, "x", held=True)
    with pytest.raises(ClusterError, match=r"nothing has run for 20 s.*other tasks hold the slots.*own thread"):
        look_at(watch, clock, 0, 1, 22)


@pytest.mark.parametrize(
    ("workers", "resources", "words"),
    [({A}, {}, f"workers {{'{A}'}}"), (set(), {"GPU": 1}, "resources {'GPU': 1}"), (set(), {}, "any worker")],
)
def test_the_view_of_a_task_that_no_worker_may_run(workers, resources, words):
    stranded = SimpleNamespace(
        key="x", worker_restrictions=workers, host_restrictions=set(), resource_restrictions=resources
    )
    assert seen_on(unrunnable=[stranded]).stranded == f"x, which asks for {words}"


def test_the_view_of_workers_that_wait_for_data():
    holder = state(B, data=["part"])
    here = SimpleNamespace(who_has=None)
    there = SimpleNamespace(who_has=[holder])
    waiting = state(
        A, tasks=[SimpleNamespace(key="x", dependencies=[here]), SimpleNamespace(key="y", dependencies=[here, there])]
    )
    found = seen_on(workers=(waiting, holder))
    assert found.waits == [(A, B, "y")]
    many = [state(f"tcp://c:{n}", tasks=waiting.processing) for n in range(5)]
    assert len(seen_on(workers=(*many, holder)).waits) == 3


def test_a_worker_that_is_given_up_is_restarted_without_waiting_for_it():
    calls = []

    async def restart_workers(addresses, **options):
        calls.append((addresses, options["timeout"], options["wait_for_workers"]))

    asyncio.run(restart()(A, 15.0, dask_scheduler=SimpleNamespace(restart_workers=restart_workers)))
    assert calls == [([A], 15.0, False)]


def test_only_lost_workers_are_announced():
    sent = []
    found = scheduler(workers=(state(A),))
    found.worker_send = lambda address, message: sent.append((address, message["op"], message["worker"]))
    announce_lost()([A, B], found)
    assert sent == [(A, "remove-worker", B)]


def test_freed_tasks_are_those_whose_workers_are_gone():
    loose = SimpleNamespace(key="loose", loose_restrictions=True)
    strict = SimpleNamespace(key="strict", loose_restrictions=False)
    done = []
    found = scheduler(workers=(state(A),), unrunnable=(loose, strict))
    found.set_restrictions = done.append
    found.bulk_schedule_unrunnable_after_adding_worker = lambda ws: {"loose": "processing"}
    found.transitions = lambda wanted, stimulus: done.append(wanted)
    free()(found)
    assert done == [{"loose": None}, {"loose": "processing"}]
    done.clear()
    found.valid_workers = lambda ts: {A}
    free()(found)
    assert done == []
