"""Tasks of a cycle and bytes between workers: counts that are not to grow."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from benchmarks import overhead
from benchmarks.waiting import Idle

# Tasks of a cycle on two workers, all levels in tasks of their own; and states between workers.
CYCLES = {(2, "full"): (28, 38.5), (4, "full"): (19, 26.0), (4, "c-points"): (22, 24.5)}
# Whatever Phi turns out to cost, a task costs far more: the residual has none of its own.
SETTINGS = {
    "daskmgrit.agglomerate": 99,
    "daskmgrit.beside": False,
    "daskmgrit.task-overhead.distributed": "1s",
    "daskmgrit.scheduler-overhead": "1s",
}


@pytest.mark.parametrize(("m", "storage"), CYCLES)
def test_tasks_and_bytes(client, m, storage):
    w0 = np.linspace(1, 2, 5000)

    async def stealing(dask_scheduler, on):
        steal = dask_scheduler.extensions["stealing"]
        await (steal.start() if on else steal.stop())

    def solve(cycles):
        overhead.moved_bytes(client)
        result = dm.MGRIT(Idle(), 512, coarsening=m).solve(
            w0, tol=0, maxiter=cycles, chunks=2, client=client, storage=storage
        )
        return np.array([result.tasks, overhead.moved_bytes(client) / w0.nbytes])

    client.run_on_scheduler(stealing, on=False)
    try:
        with dask.config.set(SETTINGS):
            tasks, states = (solve(6) - solve(2)) / 4
    finally:
        client.run_on_scheduler(stealing, on=True)
    most, rows = CYCLES[m, storage]
    assert tasks == most
    assert states <= rows
