"""Speedup of both methods over serial training against worker threads: the picture of the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import newton as of_newton
from benchmarks import scaling as of_mgrit

__all__ = ["NEWTON", "SCALING", "plot", "speedup"]

NEWTON = tuple(of_newton.Run(1, threads, 0.25, 240) for threads in (2, 4, 8, 16, 32))
SCALING = (
    *(of_mgrit.Run(512, 1, threads, 0.25) for threads in (8, 16, 32, 64)),
    of_mgrit.Run(2048, 1, 64, 0.25),
    of_mgrit.Run(2048, 2, 64, 0.25),
    of_mgrit.Run(2048, 4, 65, 0.25),
)


def speedup(
    newton_runs: tuple[of_newton.Run, ...] = NEWTON,
    scaling_runs: tuple[of_mgrit.Run, ...] = SCALING,
    note: Any = print,
) -> dict[str, Any]:
    """Solve digits with Adam by parallel Newton, and the adder by MGRIT with Solver 4.

    Parameters
    ----------
    newton_runs : tuple of benchmarks.newton.Run
        Solves of parallel Newton.
    scaling_runs : tuple of benchmarks.scaling.Run
        Solves of MGRIT.
    note : callable
        Called with progress messages.
    """
    return {"newton": of_newton.newton(newton_runs, note), "scaling": of_mgrit.scaling(scaling_runs, note)}


def plot(report: dict[str, Any], file: Path) -> None:
    """Draw the measured speedup of both methods against threads, with the line of serial training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    rows = sorted(report["newton"]["runs"], key=lambda row: row["slots"])
    workers = [row["slots"] for row in rows]
    name = f"parallel Newton: digits, Adam, N = {rows[0]['steps']}"
    axes.plot(workers, [row["speedup"] for row in rows], "o-", color="C1", label=name)
    for number, steps in enumerate(sorted({row["steps"] for row in report["scaling"]["runs"]})):
        style = {"color": ("C0", "C2")[number % 2], "marker": "s^"[number % 2]}
        rows = [row for row in report["scaling"]["runs"] if row["steps"] == steps]
        rows.sort(key=lambda row: row["workers"])
        name = f"MGRIT: adder, N = {steps}"
        axes.plot([row["workers"] for row in rows], [row["speedup"] for row in rows], label=name, **style)
    axes.axhline(1, color="0.4", linewidth=1)
    axes.annotate(
        "serial training",
        (1, 1),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -11),
        textcoords="offset points",
        ha="right",
        color="0.4",
        fontsize="small",
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        # Powers of two as the numbers that they are.
        axis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
    axes.set(xlabel="worker threads", ylabel="speedup over serial training", ylim=(None, 9))
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=110)
    plt.close(figure)
