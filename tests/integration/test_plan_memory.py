"""The memory that a plan states, against a real solve on a cluster."""

import json
import time

import dask
import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed import WorkerPlugin

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.graph.auto_chunks import plan_layout
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning import Machine
from daskmgrit.planning.memory import memory_limit, memory_of
from tests.support.cli import CliRunner
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

STEPS, WEIGHTS, CHUNKS = 256, 2000, 4


def planned(*args, code=0):
    run = CliRunner().invoke(main, ["plan", "--steps", "1000", "--phi-cost", "100ms", *args])
    assert run.exit_code == code, run.output
    return run.stdout if not code else run.stderr


class Most(WorkerPlugin):
    """Notes the most bytes of results that a worker ever held."""

    name = "most-bytes"

    def setup(self, worker):
        self.worker, self.bytes = worker, 0

    def transition(self, key, start, finish, **how):
        if finish == "memory":
            self.bytes = max(self.bytes, _held(self.worker))


def _held(dask_worker):
    return sum(sizeof(value) for value in dask_worker.data.values())


def _keys(dask_worker):
    # Not their bytes, as sizeof() looks at some items of a long list only, at random.
    return set(dask_worker.data)


def _busy(dask_scheduler):
    return sum(task.state in ("waiting", "queued", "processing") for task in dask_scheduler.tasks.values())


def _most(dask_worker):
    return dask_worker.plugins["most-bytes"].bytes


@pytest.mark.parametrize("storage", ["full", "c-points"])
@pytest.mark.parametrize(("m", "relaxation", "costly"), [(2, "FCF", 0), (8, "FCF", 0), (4, "F", 0), (2, "FCF", 1)])
def test_held_and_peak_on_a_cluster(client, storage, m, relaxation, costly):
    held = []
    names = ("daskmgrit.task-overhead.distributed", "daskmgrit.scheduler-overhead")
    overheads = dict.fromkeys(names, "1ns" if costly else "1s")

    def listen(iteration, residual, weights):
        # The next cycle is in progress; afterwards nothing is until this returns.
        wait_for(lambda: not client.run_on_scheduler(_busy), "the cycle submitted ahead has ended", seconds=30)
        looks = [None, None]

        def calm():
            # Workers hear a little later what they may forget.
            time.sleep(0.1)
            looks[:] = [looks[1], client.run(_keys)]
            return looks[0] == looks[1]

        wait_for(calm, "workers have forgotten what they may", seconds=30)
        held.append(list(client.run(_held).values()))

    w0 = np.linspace(1, 2, WEIGHTS)
    client.register_plugin(Most())
    try:
        with dask.config.set({"daskmgrit.agglomerate": 2} | overheads):
            solver = dm.MGRIT(Decay(m), STEPS, coarsening=m, relaxation=relaxation)
            result = solver.solve(w0, tol=0, maxiter=4, chunks=CHUNKS, storage=storage, client=client, callback=listen)
            hierarchy = build_hierarchy(STEPS, m, relaxation=relaxation)
            plan = plan_layout(hierarchy, CHUNKS, [1, 1], "distributed", 1e-3, w0.nbytes, storage == "c-points")
        most = max(client.run(_most).values())
    finally:
        client.unregister_worker_plugin("most-bytes")
    assert plan.apart == bool(costly)
    expected = memory_of(hierarchy, plan, Machine(2), w0.nbytes, storage)
    # In mid-solve: after the first cycle and before the last.
    assert max(held[1]) == pytest.approx(expected.held, rel=0.25)
    assert sum(held[1]) == pytest.approx(expected.held_in_all, rel=0.25)
    # Besides the results of tasks there is the memory of running ones.
    assert 0.25 * expected.peak < most <= expected.peak
    del result


def test_limit_of_a_cluster(client):
    limits = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    assert memory_limit(client) == min(limits)


def test_command_takes_the_limit_of_a_measured_cluster(client, measured, monkeypatch):
    monkeypatch.setattr("daskmgrit.cli.plan.measure_machine", lambda client: measured)
    how = ("--measure", "--scheduler", client.scheduler.address, "--bytes", "1kB")
    report = json.loads(planned(*how, "--json"))
    assert (report["workers"], report["memory"]["limit"]) == (2, memory_limit(client))
    assert report["memory"]["fits"]
    assert f"--scheduler {client.scheduler.address}" in report["command"]
    assert json.loads(planned(*how, "--memory", "3GB", "--json"))["memory"]["limit"] == 3 * 10**9
