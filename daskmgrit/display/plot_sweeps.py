"""A parallel Newton solve, sweep by sweep: residuals and accepted steps, and the window as it moved over the steps."""

from __future__ import annotations

import itertools
import math
from typing import Any

from daskmgrit.display.axes import foreground, legend_below, new_axes
from daskmgrit.display.bars import bars_below
from daskmgrit.display.colours import ACCEPTED, WINDOW
from daskmgrit.display.shown import Shown
from daskmgrit.display.spans import by_round, span

__all__ = ["plot_sweeps", "plot_window"]


def plot_sweeps(result: Shown, ax: Any = None) -> Any:
    """Draw residuals and accepted steps of a result, see :meth:`daskmgrit.Result.plot`."""
    if ax is None:
        ax = new_axes(6.4, 4.2)
    shown = [(k, value) for k, value in enumerate(result.residuals[:-1], 1) if math.isfinite(value) and value > 0]
    if shown:
        ax.semilogy(
            [k for k, _ in shown],
            [value for _, value in shown],
            "o-",
            color=foreground(),
            markersize=5 if len(shown) <= 60 else 2,
            linewidth=1.5 if len(shown) <= 60 else 0.8,
            label="residual of the window",
            zorder=3,
        )
        if result.tol > 0:
            ax.axhline(result.tol, linestyle="--", color="#d55e00", label=f"tolerance {result.tol:.1e}", zorder=2)
        ax.set_ylabel("residual, 2-norm")
    else:
        ax.set_yticks([])
        ax.set_ylabel("no residual: with tol=0 it is not measured" if result.tol == 0 else "no residual")
    values = [value for _, value in shown] + [result.tol] * (bool(shown) and result.tol > 0)
    sweeps, most = range(1, len(result.accepted) + 1), max(result.accepted, default=1)
    right, bars = bars_below(ax, values, sweeps, result.accepted, most, 0.8 if len(sweeps) <= 60 else 1.0)
    right.set_yticks(sorted({0, math.ceil(most / 2), most}) if values else [*range(0, most + 1, max(1, most // 5))])
    right.set_ylabel("steps accepted", loc="bottom", fontsize="small")
    ax.set_xlim(0.5, max(result.iterations, 1) + 0.5)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("sweep")
    ax.set_title(_title(result), fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()
    legend_below(ax, [*handles, bars], [*labels, "steps accepted by the sweep"])
    return ax


def _title(result: Shown) -> str:
    done = sum(result.accepted)
    sweeps = f"{result.iterations} sweep" + ("" if result.iterations == 1 else "s")
    how = "converged in" if result.reason == "tol" else f"{result.reason} at step {done} after"
    mean = f", {done / result.iterations:.2f} steps a sweep" if result.iterations else ""
    return f"N = {result.levels[0]}, parallel Newton: {how} {sweeps}{mean}"


def plot_window(result: Shown, ax: Any = None) -> Any:
    """Draw the window of each sweep against time, see :meth:`daskmgrit.Result.plot_window`."""
    if result.method == "MGRIT":
        raise ValueError("a result of MGRIT has no window: use plot_levels(), which shows its tasks by time and level")
    done = by_round(result.records)
    firsts = [0, *itertools.accumulate(result.accepted)]
    sweeps = [sweep for sweep in range(1, len(result.accepted) + 1) if sweep in done]
    if not sweeps:
        raise ValueError("there is nothing to plot: this run did no sweep, so it has no records")
    if ax is None:
        ax = new_axes(9.0, 4.0)
    spans = {sweep: span(done[sweep]) for sweep in sweeps}
    origin = spans[sweeps[0]][0]
    length = max(stop for _, stop in spans.values()) - origin
    unit, scale = ("ms", 1e3) if length < 2 else ("s", 1.0)
    windows, accepted = [], []
    for sweep in sweeps:
        left, right = ((moment - origin) * scale for moment in spans[sweep])
        low = firsts[sweep - 1]
        windows.append(_corners(left, right, low, low + result.windows[sweep - 1]))
        accepted.append(_corners(left, right, low, firsts[sweep]))
    from matplotlib.collections import PolyCollection

    for boxes, colour, name in ((windows, WINDOW, "window of a sweep"), (accepted, ACCEPTED, "steps it accepted")):
        ax.add_collection(PolyCollection(boxes, facecolor=colour, edgecolor=colour, linewidth=0.5, label=name))
    margin = 0.01 * length * scale
    ax.set_xlim(-margin, length * scale + margin)
    low, high = firsts[sweeps[0] - 1], firsts[sweeps[-1] - 1] + result.windows[sweeps[-1] - 1]
    high = max(high, firsts[sweeps[-1]])
    ax.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(f"time, {unit}")
    ax.set_ylabel("training step")
    ax.set_title(_title(result), fontsize="medium")
    ax.legend(loc="upper left", frameon=False)
    return ax


def _corners(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]
