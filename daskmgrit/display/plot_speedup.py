"""Predicted speedup against the number of workers, by method, with the line of serial training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskmgrit.display.axes import faint, foreground, new_axes
from daskmgrit.display.colours import METHODS

__all__ = ["plot_speedup"]


def plot_speedup(
    workers: Sequence[int],
    curves: Mapping[str, tuple[Sequence[float | None], int | None, Sequence[float | None]]],
    title: str,
    asked: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw speedups on log axes, see :meth:`daskmgrit.planning.PlanResult.plot`.

    Parameters
    ----------
    workers : sequence of int
        Numbers of workers.
    curves : mapping of str to (sequence, int or None, sequence)
        For each method its speedups, None where there is none, its break-even number of workers, and a lower bound of
        the speedups: the area between them is shaded.
    title : str
        Title above the picture.
    asked : int, optional
        A number of workers to mark.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = new_axes(6.8, 4.2)
    ink = foreground()
    for name, (speedups, even, least) in curves.items():
        rows = zip(workers, speedups, least, strict=True)
        shown = [(number, value, low or value) for number, value, low in rows if value is not None]
        colour, marker = METHODS[name]
        label = name if even is None else f"{name}: pays from {even} worker{'s' * (even > 1)} on"
        label = label if even is not None or not shown else f"{name}: does not pay"
        if not shown:
            continue
        numbers, values, lows = zip(*shown, strict=True)
        ax.plot(numbers, values, marker, linestyle="-", color=colour, markersize=4.5, label=label, zorder=3)
        if lows != values:
            ax.fill_between(numbers, lows, values, color=colour, alpha=0.2, linewidth=0, zorder=1)
        if even is not None:
            ax.plot([even, even], [0, 0.04], color=colour, linewidth=3, transform=ax.get_xaxis_transform(), zorder=4)
            ax.axvline(even, color=colour, linestyle=":", linewidth=1, zorder=1)
    ax.axhline(1.0, linestyle="--", color=ink, linewidth=1.2, label="serial training", zorder=2)
    if asked is not None:
        ax.axvline(asked, color=faint(), linewidth=6, zorder=0, label=f"{asked} workers, as asked")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    _label_numbers(ax)
    ax.set_xlabel("worker threads")
    ax.set_ylabel("speedup over serial training")
    ax.set_title(title, fontsize="medium")
    ax.grid(visible=True, which="major", color=faint(), linewidth=0.6)
    ax.legend(fontsize="small")
    return ax


def _label_numbers(ax: Any) -> None:
    """Label log axes with plain numbers, 4 or more of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0) if high < 1e3 * low else (1.0,)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
