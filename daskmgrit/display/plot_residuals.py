"""The residual, cycle by cycle, with the tolerance, and the reduction by each cycle."""

from __future__ import annotations

import itertools
import math
from typing import Any

from daskmgrit.display.axes import foreground, legend_below, new_axes
from daskmgrit.display.bars import bars_below
from daskmgrit.display.shown import Shown

__all__ = ["plot_residuals"]


def plot_residuals(result: Shown, ax: Any = None) -> Any:
    """Draw the residuals of a result, see :meth:`daskmgrit.Result.plot`."""
    if ax is None:
        ax = new_axes(6.4, 4.2)
    residuals, ink = result.residuals, foreground()
    shown = [(k, value) for k, value in enumerate(residuals) if math.isfinite(value) and value > 0]
    ax.semilogy(
        [k for k, _ in shown],
        [value for _, value in shown],
        "o-",
        color=ink,
        markersize=5,
        label="residual",
        zorder=3,
    )
    if result.tol > 0:
        ax.axhline(result.tol, linestyle="--", color="#d55e00", label=f"tolerance {result.tol:.1e}", zorder=2)
    zeros = [k for k, value in enumerate(residuals) if value == 0]
    if zeros:
        ax.plot(
            zeros,
            [0.03] * len(zeros),
            "v",
            color=ink,
            transform=ax.get_xaxis_transform(),
            label="exactly 0",
            zorder=3,
        )
    factors = _draw_factors(ax, residuals, [value for _, value in shown] + [result.tol] * (result.tol > 0))
    ax.set_xlim(-0.5, max(len(residuals) - 0.5, 1.5))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("cycle")
    ax.set_ylabel("residual, 2-norm")
    title = f"N = {result.levels[0]}, {result.cycle}-cycle: {_outcome(result)}"
    if math.isfinite(result.convergence_factor):
        title += f", factor {result.convergence_factor:.2f} per cycle"
    ax.set_title(title, fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()
    if factors is not None:
        handles.append(factors)
        labels.append("residual after a cycle / before it")
    legend_below(ax, handles, labels)
    return ax


def _outcome(result: Shown) -> str:
    cycles = f"{result.iterations} cycle" + ("" if result.iterations == 1 else "s")
    return {
        "tol": f"converged in {cycles}",
        "maxiter": f"not converged in {cycles}",
        "callback": f"stopped after {cycles}",
        "settled": f"loss settled after {cycles}",
        "stagnated": f"not converged: no fall after {cycles}",
        "diverged": f"diverged after {cycles}",
    }[result.reason]


def _draw_factors(ax: Any, residuals: list[float], values: list[float]) -> Any:
    """Draw the factor of each cycle as a bar, below the residuals."""
    bars = [
        (k, now / before)
        for k, (before, now) in enumerate(itertools.pairwise(residuals), 1)
        if before > 0 and math.isfinite(now)
    ]
    if not bars:
        return None
    places, factors = zip(*bars, strict=True)
    right, drawn = bars_below(ax, values, places, [min(factor, 1.0) for factor in factors], 1.0)
    for k, factor in bars:
        if factor > 1:
            right.text(k, 0.5, f"{factor:.3g}", ha="center", va="center", fontsize="small", rotation=90)
    right.set_yticks([0, 0.5, 1])
    right.set_ylabel("after / before", loc="bottom", fontsize="small")
    return drawn
