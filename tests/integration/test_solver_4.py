"""Solver 4: the same bits for every chunking and scheduler."""

import cloudpickle
import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import adder, digits, xor
from tests.support.ghosts import assert_evaluations


@pytest.mark.parametrize("name", ["xor", "adder", "digits"])
def test_same_bits_for_every_chunking_and_scheduler(name, client):
    problem = {"xor": xor, "adder": lambda: adder(examples=20), "digits": digits}[name]()
    phi = cloudpickle.loads(cloudpickle.dumps(problem.propagator("4", max_learning_rate=problem.learning_rate * 2)))
    solver, found = dm.MGRIT(phi, 64, **problem.hierarchy("4")), []
    assert max(solver.stages) > 1
    for scheduler, chunks in (("sync", 1), ("sync", 7), ("threads", 5)):
        with dask.config.set(scheduler=scheduler):
            found.append(solver.solve(problem.w0, "constant", tol=0, maxiter=2, chunks=chunks))
    found.append(solver.solve(problem.w0, "constant", tol=0, maxiter=2, chunks=4, client=client))
    weights = [result.weights.compute(scheduler="sync") for result in found[:-1]] + [found[-1].weights.compute()]
    for result, values in zip(found[1:], weights[1:], strict=True):
        assert np.array_equal(values, weights[0])
        assert result.residuals == found[0].residuals
        assert result.critical_path == found[0].critical_path
        assert_evaluations(result, found[0], solver.stages)
