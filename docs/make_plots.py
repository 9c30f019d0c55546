"""Make the pictures of docs/notebooks.md: ``python docs/make_plots.py [FOLDER]``."""

import sys
from pathlib import Path

import matplotlib
from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.problems import adder

matplotlib.use("Agg")


def main(folder: str = "docs", steps: int = 400) -> None:
    """Solve the paper's four-layer problem on two worker processes and draw it.

    Parameters
    ----------
    folder : str, default "docs"
        Where the pictures go.
    steps : int, default 400
        N.
    """
    problem = adder()
    solver = dm.MGRIT(problem.propagator("2"), steps)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        result = solver.solve(problem.w0, initial_guess=problem.initial_guess, chunks=4, client=client)
    pictures = {
        "residuals": result.plot(),
        "levels": result.plot_levels(min(2, result.iterations)),
        "hierarchy": dm.MGRIT(solver.phi, steps, cycle="F").plot()[0],
    }
    for name, axes in pictures.items():
        axes.figure.savefig(Path(folder) / f"{name}.png", dpi=80)


if __name__ == "__main__":
    main(*sys.argv[1:2])
