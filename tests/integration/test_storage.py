"""storage="c-points" on a cluster, with checkpoints, Solver 4 and transfers: the same bits."""

import asyncio

import dask
import numpy as np
import pytest
from distributed import Client, futures_of

import daskmgrit as dm
from daskmgrit.problems import xor
from tests.support.ghosts import assert_evaluations
from tests.support.recurrences import Decay
from tests.support.stop import Stop, stop_at

STEPS = 100
FEW = {"tol": 0, "maxiter": 3}


def assert_same(result, expected):
    assert result.residuals == expected.residuals
    assert np.array_equal(result.final, expected.final)
    assert np.array_equal(result.weights.compute(), expected.weights.compute())


def test_on_a_cluster(client, w0):
    for guess in ("zero", "nested"):
        for relaxation in ("FCF", "F"):
            expected = dm.MGRIT(Decay(4), STEPS, coarsening=4, relaxation=relaxation).solve(
                w0, initial_guess=guess, chunks=1, client=client, **FEW
            )
            result = dm.MGRIT(Decay(4), STEPS, coarsening=4, relaxation=relaxation).solve(
                w0, initial_guess=guess, chunks=3, client=client, storage="c-points", **FEW
            )
            assert_same(result, expected)
            # A chunk's C-points, and phi.
            assert len(futures_of(result.weights)) == 4


@pytest.mark.parametrize(("cycle", "m", "resumed"), [("V", 2, None), ("F", 4, "full")])
def test_checkpoints(client, tmp_path, w0, cycle, m, resumed):
    """Checkpoints hold C-points in any case, so either storage resumes from either's."""
    solver = dm.MGRIT(Decay(m), STEPS, coarsening=m, cycle=cycle)
    how = {"tol": 0, "maxiter": 5}
    with dask.config.set(scheduler="sync"):
        expected = solver.solve(w0, chunks=1, **how)
    for number, (first, second) in enumerate([("threads", client), (client, "sync"), (client, client)]):
        place, storage = dm.Checkpoint(tmp_path / str(number), every=2), ["full", "c-points"][number > 0]
        with dask.config.set(scheduler=first), pytest.raises(Stop):
            solver.solve(w0, chunks=3, callback=stop_at(3), checkpoint=place, storage=storage, **how)
        with dask.config.set(scheduler=second):
            other = resumed if storage == "c-points" else "c-points"
            result = solver.resume(place.path, chunks=4, storage=other)
            assert_same(result, expected)
            assert result.iterations == 5
    result = dm.MGRIT(Decay(m), STEPS, coarsening=m, cycle=cycle).resume(tmp_path / "2", client=client)
    assert_same(result, expected)


@pytest.mark.parametrize("m", [2, 4])
def test_solver_4(client, m):
    """Its coarse steps take stages; on level 0 it is as any other."""
    problem = xor()
    phi, hierarchy = problem.propagator("4", coarsening=m), problem.hierarchy("4", coarsening=m)
    solver = dm.MGRIT(phi, 200, **hierarchy)
    assert max(solver.stages) > 1
    with dask.config.set(scheduler="sync"):
        expected = solver.solve(problem.w0, chunks=1, **FEW)
    for where in ("sync", client):
        with dask.config.set(scheduler=where):
            result = solver.solve(problem.w0, chunks=3, storage="c-points", **FEW)
            assert_same(result, expected)
            assert_evaluations(result, expected, solver.stages, 1)


def test_transfers(client):
    class Halves:
        def restrict(self, weights, level):
            return (weights[:, ::2] + weights[:, 1::2]) / 2

        def interpolate(self, weights, level):
            return np.repeat(weights, 2, axis=1)

    w0 = np.linspace(1, 2, 8)
    for guess in ("zero", "nested"):
        solver = dm.MGRIT(Decay(4), STEPS, coarsening=4, transfer=[Halves(), None])
        with dask.config.set(scheduler="sync"):
            expected = solver.solve(w0, guess, chunks=1, **FEW)
        for where in ("sync", client):
            with dask.config.set(scheduler=where):
                assert_same(solver.solve(w0, guess, chunks=3, storage="c-points", **FEW), expected)


def test_asynchronous(cluster, w0):
    solver = dm.MGRIT(Decay(4), STEPS, coarsening=4)
    with dask.config.set(scheduler="sync"):
        expected = solver.solve(w0, chunks=1, **FEW)

    async def main():
        async with asyncio.timeout(100), Client(cluster.scheduler_address, asynchronous=True) as client:
            result = await solver.solve(w0, chunks=3, storage="c-points", **FEW)
            return result.residuals, result.final, await client.compute(result.weights)

    residuals, final, weights = asyncio.run(main())
    assert residuals == expected.residuals
    assert np.array_equal(final, expected.final)
    assert np.array_equal(weights, expected.weights.compute())
