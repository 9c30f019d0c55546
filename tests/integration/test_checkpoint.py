"""Checkpoints of a cluster: the same bits after a resume, on any cluster and chunks."""

import asyncio

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.checkpoint import store
from daskmgrit.problems import digits
from daskmgrit.solver import iteration
from tests.support.checkpoints import DAMAGE, STEPS, assert_same, save, snapshot, straight
from tests.support.recurrences import Decay
from tests.support.stop import Stop, stop_at

# -- resuming ----------------------------------------------------------------------------------------------------


OPTIONS = [
    {},
    {"cycle": "F", "relaxation": "F"},
    {"coarsening": 3, "relaxation": ["FCFCF", "FCF"], "weight": 1.1},
    {"max_levels": 2, "coarsening": 16},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_bits_on_any_cluster_and_chunks(client, tmp_path, options):
    problem = digits(hidden=4)
    phi, w0 = problem.propagator(), problem.w0
    how = {"initial_guess": "constant", "tol": 0, "maxiter": 4}
    expected, weights = straight(phi, w0, options, **how)
    solver = dm.MGRIT(phi, STEPS, **options)
    most = STEPS // solver.hierarchy[0].coarsening + 1
    ways = [("threads", client, 2, most), (client, "threads", min(7, most), 1), (client, client, 3, 2)]
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        for number, (first, second, chunks, other) in enumerate(ways if not options else ways[2:]):
            place = dm.Checkpoint(tmp_path / str(number), every=2)
            with dask.config.set(scheduler=first), pytest.raises(Stop):
                solver.solve(w0, chunks=chunks, callback=stop_at(3), checkpoint=place, **how)
            with dask.config.set(scheduler=second):
                assert_same(solver.resume(place.path, chunks=other), expected, weights)
            assert store.latest(place.directory).name == "cycle-000004"


def test_same_bits_where_a_solve_saves(client, tmp_path, w0):
    """Saving itself changes nothing, however often."""
    expected, weights = straight(Decay(), w0, {}, tol=0, maxiter=5)
    for every in (1, 2, None):
        where = dm.Checkpoint(tmp_path / str(every), every=every, seconds=None)
        result = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=3, tol=0, maxiter=5, client=client, checkpoint=where)
        assert_same(result, expected, weights)


def test_counts_are_of_the_whole_solve(client, tmp_path, w0):
    """On a cluster each save reads the state again; so the counts do not depend on where a solve was stopped."""
    solver = dm.MGRIT(Decay(), STEPS)
    how = {"chunks": 3, "tol": 0, "maxiter": 5, "client": client}
    whole = solver.solve(w0, checkpoint=dm.Checkpoint(tmp_path / "a", every=2), **how)
    with pytest.raises(Stop):
        solver.solve(w0, checkpoint=dm.Checkpoint(tmp_path / "b", every=2), callback=stop_at(3), **how)
    result = solver.resume(tmp_path / "b", client=client, chunks=how["chunks"])
    assert result.phi_evaluations == whole.phi_evaluations
    assert result.critical_path == whole.critical_path
    # A save costs N updates: the residual ends its cycle, and the F-points are made again.
    plain = solver.solve(w0, **how)
    assert whole.phi_evaluations[0] - plain.phi_evaluations[0] == 2 * STEPS
    assert whole.phi_evaluations[1:] == plain.phi_evaluations[1:]


def test_asynchronous_client(tmp_path, w0):
    from distributed import Client, LocalCluster

    expected, weights = straight(Decay(), w0, {}, tol=0, maxiter=4)
    solver = dm.MGRIT(Decay(), STEPS)

    async def go_on():
        async with (
            LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", asynchronous=True) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await solver.solve(w0, tol=0, maxiter=2, client=client, checkpoint=tmp_path)
            result = await solver.resume(tmp_path, maxiter=4, client=client)
            return result, await client.compute(result.weights)

    result, found = asyncio.run(go_on())
    assert result.residuals == expected.residuals
    assert np.array_equal(found, weights)


# -- when --------------------------------------------------------------------------------------------------------


def test_look_ahead_up_to_the_cycle_to_save(client, w0, tmp_path, monkeypatch):
    events = []

    def noted(owner, name, text):
        original = getattr(owner, name)

        def call(self, *args):
            if text == "submit":
                events.append(f"submit {args[0]}")
            made = original(self, *args)
            if text != "submit":
                events.append(text)
            return made

        monkeypatch.setattr(owner, name, call)

    noted(iteration.Iteration, "_submit_cycle", "submit")
    noted(iteration.Iteration, "_settle", "residual")
    noted(iteration.Saver, "finish", "saved")
    where = dm.Checkpoint(tmp_path, every=3)
    dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2, client=client, tol=0, maxiter=5, checkpoint=where)
    first = ["residual", "submit 1", "submit 2", "residual", "submit 3", "residual", "residual", "saved"]
    assert events == [*first, "submit 4", "submit 5", "residual", "residual", "saved"]


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_by_time(where, w0, tmp_path, monkeypatch, request):
    client = request.getfixturevalue("client") if where == "cluster" else None
    made = []
    commit = store.commit
    monkeypatch.setattr(store, "commit", lambda path, content: made.append(content["cycle"]) or commit(path, content))
    solver = dm.MGRIT(Decay(), STEPS)
    how = {"chunks": 2, "tol": 0, "maxiter": 6, "client": client}
    expected = solver.solve(w0, **how)
    # Always overdue: each cycle is saved, or where one was submitted ahead, each second one.
    result = solver.solve(w0, checkpoint=dm.Checkpoint(tmp_path / "a", every=None, seconds=0), **how)
    assert made == ([0, 1, 2, 3, 4, 5, 6] if where == "threads" else [0, 2, 4, 6])
    assert result.residuals == expected.residuals
    made.clear()
    solver.solve(w0, checkpoint=dm.Checkpoint(tmp_path / "b", every=4, seconds=1e9), **how)
    assert made == [4, 6]
    assert [path.name for path in sorted((tmp_path / "b").iterdir())] == ["cycle-000006", "lock"]


def test_scheduler_forgets_what_was_saved(client, w0, tmp_path):
    """The number of tasks that the scheduler remembers stays flat with checkpoints, and grows without."""
    most = {}
    for name, where in {"saved": dm.Checkpoint(tmp_path, every=3), "plain": None}.items():
        counts = []

        def count(iteration, residual, weights, counts=counts):
            counts.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

        solver = dm.MGRIT(Decay(), 32, max_levels=2)
        solver.solve(w0, chunks=2, client=client, tol=0, maxiter=24, callback=count, checkpoint=where)
        most[name] = [max(counts[start : start + 8]) for start in (0, 8, 16)]
    first, *later = most["saved"]
    assert max(later) <= first + 20
    assert most["plain"][2] > 4 * max(most["saved"])


# -- what is wrong with the files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrong bit", "missing chunk", "missing manifest"])
def test_damage(tmp_path, w0, name, client):
    """A worker finds it, and the client says it."""
    saved = save(tmp_path / "saved", w0)
    act, words = DAMAGE[name]
    act(saved / "cycle-000003")
    before = snapshot(saved)
    with pytest.raises(dm.CheckpointError, match=words) as caught:
        dm.MGRIT(Decay(), STEPS).resume(saved, client=client)
    assert "cycle-000003" in str(caught.value)
    assert snapshot(saved) == before


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_divergence_leaves_the_last_checkpoint(where, tmp_path, request):
    client = request.getfixturevalue("client") if where == "cluster" else None

    def calm(weights, index, level):
        return (0.9 ** (2**level) * weights) * (1 + 0.1 * np.sin(weights))

    kept = dm.MGRIT(calm, 64).solve(np.ones(2), tol=0, maxiter=3, chunks=3).weights.compute()

    def bad(weights, index, level):
        new = calm(weights, index, level)
        if level == 0:
            new[(index == 40) & (weights == kept[40]).all(axis=1)] = np.nan
        return new

    saved = dm.Checkpoint(tmp_path, every=1)
    result = dm.MGRIT(bad, 64).solve(np.ones(2), tol=0, maxiter=9, chunks=3, client=client, checkpoint=saved)
    assert (result.reason, result.iterations) == ("diverged", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cycle-000002", "lock"]
    again = dm.MGRIT(bad, 64).resume(tmp_path, client=client)
    assert (again.reason, again.iterations, again.residuals) == ("diverged", 2, result.residuals)
