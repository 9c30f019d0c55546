"""Figures 6, 7 and 8: potential speedup against N."""

from __future__ import annotations

from pathlib import Path

from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.paper.run import Measurements
from daskmgrit.paper.speedup import potential_speedup as _model
from daskmgrit.paper.tables import Figure, Table

__all__ = ["draw"]


def draw(figure: Figure, tables: dict[int, Table], store: Measurements, path: Path) -> None:
    """Draw a figure: from the published iterations, from the measured ones, and from the counted critical path.

    Parameters
    ----------
    figure : Figure
        Which.
    tables : dict
        The paper's tables.
    store : Measurements
        The measurements.
    path : Path
        Where to write the picture.
    """
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(7.5, 5), layout="constrained")
    axes = canvas.subplots()
    for place, number in enumerate(figure.tables):
        table = tables[number]
        reading = table.readings[0]
        name = f"Table {number}, {reading.cycle}-cycle"
        marker, colour = "osD"[place], ("0.0", "tab:orange", "tab:blue")[place]
        measured = [(steps, store.get(reading, steps)) for steps in table.columns]
        converged = [(steps, found) for steps, found in measured if found and found["converged"]]
        levels = {steps: len(build_hierarchy(steps)) for steps in table.columns}
        printed = [(n, int(k)) for n, k in zip(table.columns, table.iterations, strict=True)]
        curves = (
            ("N/sigma, published", ":", "white", [(n, _model(n, levels[n], reading.cycle, k)) for n, k in printed]),
            (
                "N/sigma, measured",
                "--",
                "0.8",
                [(n, _model(n, levels[n], reading.cycle, found["iterations"])) for n, found in converged],
            ),
            (
                "N/critical path of the task graph",
                "-",
                colour,
                [(n, n / found["critical_path"]) for n, found in converged],
            ),
        )
        for what, line, face, points in curves:
            axes.loglog(
                [n for n, _ in points],
                [value for _, value in points],
                marker=marker,
                linestyle=line,
                color=colour,
                markerfacecolor=face,
                label=f"{name}: {what}",
            )
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set_xlabel("N, training steps")
    axes.set_ylabel("potential speedup")
    axes.set_title(f"Figure {figure.number}: {figure.caption}", fontsize=10)
    for axis in (axes.xaxis.set_major_formatter, axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis("{x:g}")
    axes.legend(fontsize=7)
    axes.grid(visible=True, which="major", color="0.9")
    partial = path.with_name(f".{path.name}")
    canvas.savefig(partial, dpi=130, format="png")
    partial.replace(path)
