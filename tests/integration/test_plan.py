"""The plan against a real solve on a cluster."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from benchmarks.oracle import replay, trace
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning import Machine, PhiCost, measure
from tests.support.recurrences import Decay


def of_real_solve(client, cycles=3, **options):
    w0 = np.linspace(1, 2, 5)
    m = options.get("coarsening", 2)
    return dm.MGRIT(Decay(m), 100, **options).solve(w0, tol=0, maxiter=cycles, chunks=4, client=client)


@pytest.mark.parametrize("options", [{}, {"coarsening": 4, "cycle": "F"}, {"relaxation": "F"}])
@pytest.mark.parametrize("agglomerate", [1, 99])
def test_trace_has_the_tasks_and_phi_of_a_real_solve(client, options, agglomerate):
    with dask.config.set({"daskmgrit.agglomerate": agglomerate, "daskmgrit.beside": False}):
        result = of_real_solve(client, **options)
        hierarchy = build_hierarchy(100, **options)
        traced = trace(hierarchy, [1, 1], PhiCost(1e-3), chunks=4, cycles=3)
    assert len(traced.tasks) == result.tasks
    evaluations = [0] * len(hierarchy)
    for task in traced.tasks:
        for level, rows in task.calls:
            evaluations[level] += rows
    assert evaluations == result.phi_evaluations


def test_bytes_between_workers(client):
    row = 80_000
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        few, many = (
            replay(
                trace(build_hierarchy(128), [1, 1], PhiCost(1e-3), chunks=2, cycles=k, row_bytes=row),
                Machine(2),
                PhiCost(1e-3),
                row,
            )
            for k in (2, 3)
        )
    moved = (many.moved - few.moved) / row
    # Two edges of two rows on each of four levels; of the coarsest what the other worker gives and gets.
    assert moved == pytest.approx(2 * 2 * 4 + 3 * 4, abs=4)


def test_measure_on_a_cluster(measured):
    machine = measured
    assert (machine.workers, machine.threads) == (2, 1)
    assert machine.cores is not None
    # Something is measured everywhere, and nothing absurd.
    for name in ("scheduler", "worker", "client", "latency"):
        assert 1e-6 < getattr(machine, name) < 1
    assert machine.bandwidth > 1e5


def test_measuring_a_cluster_without_time_is_as_short_as_can_be(client, monkeypatch):
    chains, solves = [], []
    monkeypatch.setattr(measure, "MGRIT", lambda phi, steps: solves.append(steps) or dm.MGRIT(phi, steps))
    book = measure.TaskBook
    monkeypatch.setattr(measure, "TaskBook", lambda workers: chains.append(workers) or book(workers))
    machine = measure.measure_machine(client, 0.0)
    assert machine.scheduler > 0
    # What workers import, and one solve; a chain of each kind.
    assert solves == [16, 16]
    assert len(chains) == 3


def test_a_fetch_takes_as_long_as_a_message_at_least(client, monkeypatch):
    """Also if chains between two workers happen to be no slower than those on one."""
    monkeypatch.setattr(measure, "_chain", lambda client, workers, size, ends: (0.01 if size else 0.004, 0.001))
    machine = measure.measure_machine(client, 0.0)
    assert machine.transfer == machine.latency == pytest.approx(0.0015)


def test_plan_for_the_cluster_of_a_client(client, measured, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "daskmgrit.planning.ask.measure_machine", lambda client, seconds: asked.append(client) or measured
    )
    known = {"cost": 0.5, "iterations": 5, "accepted": 2}
    plan = dm.plan(Decay(), np.ones(4), 100, client, **known)
    assert plan.workers == sum(client.nthreads().values())
    assert plan.machine == measured
    with client.as_current():
        assert dm.plan(Decay(), np.ones(4), 100, **known).workers == plan.workers
    assert asked == [client, client]
