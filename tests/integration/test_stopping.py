"""Stopping by the loss on a cluster."""

import asyncio

import pytest

import daskmgrit as dm
from tests.support.approach import Approach, Loss

STEPS = 200


@pytest.fixture
def phi():
    return Approach()


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
