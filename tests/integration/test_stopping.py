"""Stopping by the loss on a cluster."""

import asyncio

import numpy as np
import pytest

import daskmgrit as dm

STEPS = 200


class Approach:
    """Goes to a state that is not zero, with a little of the step's number in it."""

    def __call__(self, weights, index, level):
        length = 0.03 * 2**level
        target = 1 + 0.1 * np.sin(weights) + 0.01 * (index % 3)[:, None]
        return weights + length / (1 + length) * (target - weights)


@pytest.fixture
def phi():
    return Approach()


class Loss:
    """The mean square of the weights; it remembers what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, final):
        self.given.append(final.copy())
        return float((final**2).mean())


def test_on_a_cluster_and_asynchronously(phi, w0, cluster):
    from distributed import Client

    solver, settled = dm.MGRIT(phi, STEPS), dm.Settled(Loss(), 1e-3)
    here = solver.solve(w0, settled=settled)

    async def solve():
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            await client.wait_for_workers(2, timeout=60)
            return await solver.solve(w0, client=client, chunks=2, settled=settled)

    result = asyncio.run(asyncio.wait_for(solve(), 120))
    assert (result.reason, result.losses) == ("settled", here.losses)
