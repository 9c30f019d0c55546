"""Bars on their own axis, in a strip below a residual's log axis, so that neither hides the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from daskmgrit.display.axes import faint

__all__ = ["bars_below"]

# Of the height, what the bars take at most, and where the values of the log axis begin.
STRIP, BEGIN = 0.2, 0.27


def bars_below(
    ax: Any, values: Sequence[float], places: Sequence[int], heights: Sequence[float], most: float, width: float = 0.5
) -> tuple[Any, Any]:
    """Draw bars below the values of a log axis; without values the bars take the whole height.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The log axis.
    values : sequence of float
        All that it shows, above 0.
    places, heights : sequence
        Of the bars.
    most : float
        The height that fills the strip.
    width : float
        Of a bar.

    Returns
    -------
    right : matplotlib.axes.Axes
        The bars' axis.
    drawn : BarContainer
    """
    right = ax.twinx()
    many = len(places) > 60
    drawn = right.bar(
        places, heights, width=width, color=faint(0.14), edgecolor=faint(0.45), linewidth=0 if many else 0.6
    )
    right.set_ylim(0, most / (STRIP if values else 0.95))
    right.tick_params(axis="y", colors=faint(0.75))
    right.yaxis.label.set_color(faint(0.75))
    if values:
        low, high = (math.log10(bound) for bound in (min(values), max(values)))
        decades = max(high - low, 0.5) / (0.96 - BEGIN)
        ax.set_ylim(10 ** (low - BEGIN * decades), 10 ** (high + 0.04 * decades))
        first, last = math.ceil(low), math.floor(high)
        step = max(1, math.ceil((last - first + 1) / 8))
        if last > first:
            ax.set_yticks([10.0**power for power in range(last, first - 1, -step)])
        ax.minorticks_off()
    # The lines are to be in front of the bars.
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
    return right, drawn
