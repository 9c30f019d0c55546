"""Make the pictures of README.md, docs/notebooks.md and docs/plan.md: ``python docs/make_plots.py [FOLDER]``."""

import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
from distributed import Client, LocalCluster

import daskmgrit as dm
from benchmarks import scaling
from daskmgrit.problems import adder, digits

matplotlib.use("Agg")


def phi(weights, index, level):
    """The Phi of docs/plan.md."""
    rate = min(0.01 * 2**level, 0.1)
    return weights - rate * (weights - np.sin(weights))


def measured_runs(page: Path) -> dict:
    """Return the runs in the table of docs/benchmarks.md, as far as the picture of them needs them."""
    runs = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 11 and re.fullmatch(r"\d+", cells[0]):
            measured, serial = (float(cells[place].removesuffix(" s")) for place in (5, 6))
            to_path, to_plan, wait = float(cells[8]), float(cells[10]), float(cells[3].removesuffix(" ms")) / 1e3
            runs.append(
                {
                    "steps": int(cells[0]),
                    "workers": int(cells[1]),
                    "speedup": serial / measured,
                    "plan_speedup": serial * to_plan / measured,
                    "critical_path": measured / to_path / wait,
                }
            )
    return {"runs": runs}


def main(folder: str = "docs", steps: int = 400, digits_steps: int | None = None) -> None:
    """Solve the paper's four-layer problem on two worker processes and digits on threads, and draw them.

    Parameters
    ----------
    folder : str, default "docs"
        Where the pictures go.
    steps : int, default 400
        N of the four-layer problem.
    digits_steps : int, optional
        N of digits, by default that of ``daskmgrit solve digits``.
    """
    problem = adder()
    solver = dm.MGRIT(problem.propagator("2"), steps)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        result = solver.solve(problem.w0, initial_guess=problem.initial_guess, chunks=4, client=client)
    images = digits()
    trained = dm.MGRIT(images.propagator(), digits_steps or images.steps).solve(images.w0, images.initial_guess)
    pictures = {
        "residuals": result.plot(),
        "levels": result.plot_levels(min(2, result.iterations)),
        "hierarchy": dm.MGRIT(solver.phi, steps, cycle="F").plot()[0],
        "digits": trained.plot(),
        "plan": dm.plan(phi, np.linspace(1, 2, 1000), 5000, 200, cost="100ms").plot(),
    }
    for name, axes in pictures.items():
        axes.figure.savefig(Path(folder) / f"{name}.png", dpi=80)
    scaling.plot(measured_runs(Path(__file__).parent / "benchmarks.md"), Path(folder) / "scaling.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])
