"""Solve on SLURM jobs from a login node: python cluster.py [JOBS [CHECKPOINT]]. What a job gets is in jobqueue.yaml.

CHECKPOINT is a folder that all nodes see; the same command resumes the run from it.
"""

import sys

from distributed import Client

import daskmgrit as dm
from daskmgrit.problems import xor
from daskmgrit.slurm import SLURMCluster


def main(jobs=2, checkpoint=None):
    problem = xor()  # yours: any phi and w0
    with SLURMCluster() as cluster:
        cluster.scale(jobs=int(jobs))
        with Client(cluster) as client:
            print("dashboard:", cluster.dashboard_link)
            client.wait_for_workers(int(jobs) * cluster.processes, timeout=3600)
            solver = dm.MGRIT(problem.propagator(), steps=problem.steps)
            if checkpoint and dm.Checkpoint(checkpoint).latest():  # of a run before this one
                result = solver.resume(checkpoint, progress=True)
            else:
                result = solver.solve(problem.w0, problem.initial_guess, checkpoint=checkpoint, progress=True)
            print(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
