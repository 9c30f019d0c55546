"""Solve on a Dask cluster: two worker processes of this machine, or the cluster whose address you give."""

import sys

from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.problems import digits


def main(address=None):
    problem = digits()
    cluster = address or LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    with Client(cluster) as client:
        print("dashboard:", client.dashboard_link)
        solver = dm.MGRIT(problem.propagator(), steps=200)
        result = solver.solve(problem.w0, initial_guess="constant", chunks=4, progress=True)
        print(result)
        print(result.weights)  # still on the cluster
        print("test accuracy:", round(problem.metrics(result.final)["test_accuracy"], 3))
    if not address:
        cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
