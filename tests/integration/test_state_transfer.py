"""A transfer on a cluster."""

import numpy as np

import daskmgrit as dm
from daskmgrit.problems import Brusselator, GridTransfer


def test_two_functions_on_a_grid_on_a_cluster(client):
    problem = Brusselator(points=33, steps=128)
    solver = dm.MGRIT(problem, 128, cycle="F", max_levels=3, transfer=[GridTransfer(2), None])
    result = solver.solve(problem.w0, "constant", client=client, chunks=2)
    assert result.converged
    serial = dm.train_serially(problem, problem.w0, 128)
    np.testing.assert_allclose(result.final, serial[-1], atol=1e-7)
