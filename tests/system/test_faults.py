"""Workers killed, stopped, out of memory and cut off, a scheduler lost: the same bits, or a clear error, in time.

The processes are real. Every solve here has a bound of its own (``timeout=``), so a hang shows as a failed test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.executors import cluster
from daskmgrit.executors.scheduler_calls import free
from daskmgrit.solver import window_iteration
from tests.support.processes import Processes
from tests.support.recurrences import Decay, Slow
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

STEPS, CYCLES = 100, 6
HOW = {"chunks": 2, "tol": 0, "maxiter": CYCLES}


@pytest.fixture(scope="module")
def calm():
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(Decay(), STEPS).solve(np.linspace(1, 2, 5), tol=0, maxiter=CYCLES, chunks=1)
        return result, result.weights.compute()


def assert_calm(result, calm):
    expected, weights = calm
    assert result.residuals == expected.residuals
    assert np.array_equal(result.weights.compute(), weights)
    assert np.array_equal(result.final, weights[-1])


@pytest.fixture(autouse=True)
def spread_out():
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["no nanny", "nanny"])
def processes(request):
    with Processes() as processes:
        processes.nanny = request.param
        yield processes


@pytest.fixture
def client(processes):
    """A client of two workers, whatever happened to those before."""
    with Client(processes.address, timeout=60) as client:
        restart(processes, client)
        yield client


def restart(processes, client, count=2):
    # A nanny starts its worker again.
    there = len(processes.children) - 1 if processes.nanny else len(client.nthreads())
    for _ in range(count - there):
        processes.worker(f"w{len(processes.children)}", processes.nanny)
    ready(client, count)


def ready(client, count):
    """Wait until that many workers are there and have imported what a solve needs.

    That may take longer than the short waits that tests below allow a solve.
    """
    client.wait_for_workers(count, timeout=60)
    pids(client)


def at_cycle_3(act):
    def callback(iteration, residual, weights):
        if iteration == 3:
            act()

    return callback


def pid():
    return os.getpid()


def pids(client):
    # A function of this module: to load it a worker imports this module, and so the package.
    return [number for _, number in sorted(client.run(pid).items())]


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_worker(client, calm, w0, victim):
    victims = pids(client)
    act = at_cycle_3(lambda: os.kill(victims[victim], signal.SIGKILL))
    result = dm.MGRIT(Slow(), STEPS).solve(w0, client=client, callback=act, timeout=30, **HOW)
    assert_calm(result, calm)


def test_stopped_worker(client, calm, w0, caplog):
    victim = pids(client)[0]
    act = at_cycle_3(lambda: os.kill(victim, signal.SIGSTOP))
    # The scheduler alone would wait for ten minutes. Five seconds is what it grants between heartbeats.
    result = dm.MGRIT(Slow(), STEPS).solve(w0, client=client, callback=act, timeout=5, **HOW)
    assert_calm(result, calm)
    messages = [record.getMessage() for record in caplog.records if record.name == "daskmgrit"]
    assert any("has not answered for" in text and "while waiting for" in text for text in messages)
    assert any("is treated as lost" in text for text in messages)


@pytest.mark.parametrize(("signal_", "timeout"), [(signal.SIGKILL, 30), (signal.SIGSTOP, 5)], ids=["killed", "stopped"])
def test_worker_lost_in_a_newton_solve(client, w0, signal_, timeout):
    victim, asked = pids(client)[0], []
    newton = dm.ParallelNewton(Decay(), 200, window=8)
    with dask.config.set(scheduler="sync"):
        expected = newton.solve(w0)

    def act(sweeps, residual, final):
        if not asked:
            asked.append(sweeps)
            os.kill(victim, signal_)

    result = dm.ParallelNewton(Slow(), 200, window=8).solve(w0, client=client, callback=act, timeout=timeout)
    assert asked
    assert result.residuals == expected.residuals
    assert np.array_equal(result.final, expected.final)


def test_only_worker_lost_in_a_newton_solve(w0, monkeypatch):
    """The tasks that it had done are done again, with the same sweeps, however long they take now."""
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.5)
    steps, victim = 300, []
    with dask.config.set(scheduler="sync"):
        expected = dm.ParallelNewton(Decay(), steps, window=8).solve(w0, 0, keep="all")
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):

        def act(sweeps, residual, final):
            if sweeps > 1 and not victim:
                victim.append(sweeps)
                os.kill(pids(client)[0], signal.SIGKILL)

        solver = dm.ParallelNewton(Slow(), steps, window=8)
        result = solver.solve(w0, 0, client=client, callback=act, timeout=30, keep="all")
        assert victim
        assert result.accepted == expected.accepted
        assert np.array_equal(client.compute(result.weights).result(), expected.weights.compute())


def test_all_workers_lost_and_new_ones_come(processes, client, calm, w0):
    victims, before = pids(client), set(client.nthreads())

    def lose():
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not before & set(client.nthreads()))
        # Where there are nannies, they start new ones.
        if not processes.nanny:
            restart(processes, client)

    result = dm.MGRIT(Slow(), STEPS).solve(w0, client=client, callback=at_cycle_3(lose), timeout=60, **HOW)
    assert_calm(result, calm)


def test_lost_workers_after_a_checkpoint(processes, client, calm, w0, tmp_path):
    """What a checkpoint cut off is made again from the file."""
    victims = pids(client)
    solver = dm.MGRIT(Slow(), STEPS)
    saved = dm.Checkpoint(tmp_path / "saved", every=2)
    act = at_cycle_3(lambda: os.kill(victims[0], signal.SIGKILL))
    result = solver.solve(w0, client=client, callback=act, timeout=60, checkpoint=saved, **HOW)
    assert_calm(result, calm)
    wait_for(lambda: len(client.nthreads()) == 1 + processes.nanny)
    before = set(client.nthreads())
    for victim in pids(client):
        os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not before & set(client.nthreads()))
    restart(processes, client)
    assert_calm(result, calm)


def test_new_workers_get_the_chunks_of_lost_ones(processes, client, calm, w0, monkeypatch):
    """A busy worker's tasks may still go to another, as the scheduler likes."""
    monkeypatch.setattr(cluster, "RENEWAL", 0)
    victim, before = pids(client)[0], sorted(client.nthreads())

    def replace():
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: before[0] not in client.nthreads())
        restart(processes, client)

    result = dm.MGRIT(Slow(), STEPS).solve(w0, client=client, callback=at_cycle_3(replace), timeout=60, **HOW)
    assert_calm(result, calm)
    assert before[1] in client.nthreads()
    assert {record.process for record in result.records if record.cycle > 4} == set(pids(client))


def test_no_worker_comes(processes, client, w0, tmp_path):
    """With the last worker gone there is an error within the time given, and it says where to resume from."""
    if processes.nanny:
        pytest.skip("nannies start new workers")
    victims = pids(client)
    act = at_cycle_3(lambda: [os.kill(victim, signal.SIGKILL) for victim in victims])
    with pytest.raises(
        dm.ClusterError, match=r"none came within 2 s while waiting for .*; the checkpoint of cycle 2 is"
    ):
        dm.MGRIT(Slow(), STEPS).solve(
            w0, client=client, callback=act, timeout=2, checkpoint=dm.Checkpoint(tmp_path, every=2), **HOW
        )


@pytest.mark.parametrize("signal_", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_lost_scheduler(calm, w0, tmp_path, signal_):
    saved = dm.Checkpoint(tmp_path / "saved", every=2)
    solver = dm.MGRIT(Slow(), STEPS)
    with Processes() as processes:
        for name in "ab":
            processes.worker(name)
        client = Client(processes.address, timeout=60)
        try:
            ready(client, 2)
            act = at_cycle_3(lambda: os.kill(processes.scheduler.pid, signal_))
            with pytest.raises(dm.ClusterError, match="scheduler") as caught:
                solver.solve(w0, client=client, callback=act, timeout=3, checkpoint=saved, **HOW)
            if signal_ == signal.SIGSTOP:
                with pytest.raises(dm.ClusterError, match="scheduler did not answer for 1 s"):
                    solver.solve(w0, client=client, timeout=1)
                os.kill(processes.scheduler.pid, signal.SIGCONT)
        finally:
            client.close()
    assert f"the checkpoint of cycle 2 is in {saved.path}" in str(caught.value)
    assert "solver.resume" in str(caught.value)
    with dask.config.set(scheduler="threads"):
        assert_calm(solver.resume(saved.path), calm)


def test_worker_that_does_not_answer_at_the_start(client, w0):
    victim = pids(client)[0]
    address = sorted(client.nthreads())[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        with pytest.raises(dm.ClusterError, match=f"worker .*{address}.* did not answer for 5 s"):
            dm.MGRIT(Slow(), STEPS).solve(w0, client=client, timeout=5, **HOW)
    finally:
        os.kill(victim, signal.SIGCONT)


class Hungry(Slow):
    """Takes more memory than its worker may have; for good, or again in every call."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def __call__(self, weights, index, level):
        kept = self.kept if hasattr(type(self), "kept") else []
        type(self).kept = kept
        if level == 1 and not kept:
            held = [np.ones(2_000_000) for _ in range(40)]
            if self.keep:
                kept.extend(held)
            else:
                wait_for(lambda: False, seconds=30)
        return super().__call__(weights, index, level)


def test_out_of_memory(w0):
    """A nanny kills the worker; the scheduler gives the task up after that number of times."""
    with Processes(distributed__scheduler__allowed_failures=0) as processes:
        processes.worker("a", nanny=True, memory="300MB")
        with Client(processes.address, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            with pytest.raises(dm.ClusterError, match=r"gave up the task .*: 1 workers died.*memory"):
                dm.MGRIT(Hungry(keep=False), STEPS).solve(w0, client=client, timeout=60, **HOW)


def test_paused_for_want_of_memory(w0):
    """Without a nanny a worker whose memory is full runs no further task."""
    with Processes() as processes:
        processes.worker("a", memory="300MB")
        with Client(processes.address, timeout=60) as client:
            ready(client, 1)
            with pytest.raises(dm.ClusterError, match=r"nothing has run for 3 s .*paused because its memory is full"):
                dm.MGRIT(Hungry(keep=True), STEPS).solve(w0, client=client, timeout=3, **HOW)


def test_task_that_became_ready_while_no_worker_ran():
    """The scheduler would give it to no worker but the one that it was planned on, though others are allowed."""
    with Processes() as processes, Client(processes.address, timeout=60) as client:
        planned = client.submit(sum, [1, 2], workers=["tcp://127.0.0.1:1"], allow_other_workers=True)
        strict = client.submit(sum, [3, 4], workers=["tcp://127.0.0.1:1"])
        wait_for(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 2)
        processes.worker("a")
        client.wait_for_workers(1, timeout=60)
        client.run_on_scheduler(free())
        assert planned.result(timeout=60) == 3
        assert strict.status == "pending"


def reason_for_no_namespaces():
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "network namespaces need ip and unshare: apt-get install iproute2 util-linux"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"network namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.mark.skipif(bool(reason_for_no_namespaces()), reason=reason_for_no_namespaces() or "there are namespaces")
@pytest.mark.parametrize(("heals_after", "timeout"), [(0, 5), (3, 60)], ids=["for good", "for a while"])
def test_network_cut_between_workers(calm, heals_after, timeout):
    spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    root = Path(__file__).parents[2]
    out = subprocess.run(
        [*spaces, sys.executable, "-m", "tests.support.netcut", str(heals_after), str(timeout)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "OUTCOME" in out.stdout, out.stderr[-5000:]
    outcome = json.loads(out.stdout.partition("OUTCOME")[2])
    if heals_after:
        assert outcome["residuals"] == calm[0].residuals
    else:
        assert "nothing has run for 5 s" in outcome["error"]
        assert "unable to reach" in outcome["error"]
