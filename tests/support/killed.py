"""A solve that begins, or resumes from its checkpoint, in a process of its own that a test kills."""

import multiprocessing

import dask
import numpy as np

import daskmgrit as dm
from tests.support.recurrences import Slow

STEPS, CYCLES = 100, 14


def solver_of(method, seconds=0.0):
    """Return the solver, and how it is asked to solve."""
    phi = Slow(seconds=seconds)
    if method == "mgrit":
        return dm.MGRIT(phi, STEPS), {"tol": 0, "maxiter": CYCLES}
    return dm.ParallelNewton(phi, STEPS, window=8), {"tol": 1e-9}


def go_on(method, directory, every, chunks, out):
    """Solve with checkpoints, from the last of them if there is one; save the final weights and the history."""
    dask.config.set(scheduler="threads", num_workers=2)
    solver, how = solver_of(method, 0.0003)
    policy = dm.Checkpoint(directory, every=every, seconds=None)
    more = {"chunks": chunks} if method == "mgrit" else {}
    try:
        result = solver.resume(policy, np.linspace(1, 2, 5), **more)
    except dm.CheckpointError as error:
        if "there is no checkpoint to resume from" not in str(error):
            raise
        result = solver.solve(np.linspace(1, 2, 5), checkpoint=policy, **how, **more)
    np.savez(out, final=result.final, residuals=result.residuals)


def processes():
    """Return how to start processes of `go_on`: forked from one that has imported all they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "daskmgrit.solver.solve", "daskmgrit.solver.window_solve"])
    return context
