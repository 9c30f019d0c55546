"""The program of every task of batch.sh: python runner.py KEYS CHECKPOINT. Task 0 is the scheduler, 1 the client."""

import os
import socket
import sys

from dask_jobqueue.slurm import SLURMRunner
from distributed import Client, rpc

import daskmgrit as dm
from daskmgrit.gpus import take_device
from daskmgrit.problems import xor
from daskmgrit.tls import read_keys


class Runner(SLURMRunner):
    """dask-jobqueue's, with TLS: its own connection to the scheduler knows nothing of that."""

    def __init__(self, security):
        self.security = security
        both = {"security": security, "dashboard_address": "127.0.0.1:0"}
        super().__init__(scheduler_options={"protocol": "tls", **both}, worker_options={"nthreads": 1, **both})

    async def before_client_start(self):
        self.scheduler_comm = rpc(self.scheduler_address, connection_args=self.security.get_connection_args("client"))


def main(keys, checkpoint):
    take_device(int(os.environ["SLURM_LOCALID"]))  # if the job has GPUs
    with Runner(read_keys(keys)) as runner, Client(runner) as client:
        node, port = client.run_on_scheduler(socket.gethostname), client.scheduler_info()["services"]["dashboard"]
        print(f"dashboard: ssh -N -J LOGIN -L 8787:127.0.0.1:{port} {node}, then http://127.0.0.1:8787", flush=True)
        client.wait_for_workers(runner.n_workers, timeout=600)
        problem = xor()  # yours: any phi and w0
        solver = dm.MGRIT(problem.propagator(), steps=problem.steps)
        if dm.Checkpoint(checkpoint).latest():  # of a job before this one
            result = solver.resume(checkpoint, progress=True)
        else:
            result = solver.solve(problem.w0, problem.initial_guess, checkpoint=checkpoint, progress=True)
        print(result, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
