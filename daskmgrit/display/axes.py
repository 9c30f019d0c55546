"""New axes to draw on, or a clear error without matplotlib."""

from __future__ import annotations

from typing import Any

from daskmgrit.utils.install_hint import install_hint

__all__ = ["faint", "foreground", "legend_below", "new_axes", "paper"]


def new_axes(width: float, height: float, **grid: Any) -> Any:
    """Return the axes of a new pyplot figure, which a notebook shows by itself.

    Parameters
    ----------
    width, height : float
        Of the figure, in inches.
    **grid
        For ``pyplot.subplots``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(f"plots need matplotlib, which is not installed: {install_hint('plot')}") from None
    return pyplot.subplots(figsize=(width, height), layout="constrained", **grid)[1]


def foreground() -> str:
    """Return the colour of text, light in a dark style: pictures follow the user's ``rcParams``."""
    from matplotlib import rcParams
    from matplotlib.colors import to_hex

    return str(to_hex(rcParams["axes.labelcolor"]))


def paper() -> str:
    """Return the colour of the background of axes."""
    from matplotlib import rcParams
    from matplotlib.colors import to_hex

    return str(to_hex(rcParams["axes.facecolor"]))


def faint(share: float = 0.15) -> str:
    """Return a colour between background and text, for grids and the background of a plot."""
    from matplotlib.colors import to_hex, to_rgb

    pairs = zip(to_rgb(paper()), to_rgb(foreground()), strict=True)
    return str(to_hex([(1 - share) * back + share * front for back, front in pairs]))


def legend_below(ax: Any, *entries: Any) -> None:
    """Put a legend below the axes, where it hides nothing; `entries` are handles and labels, by default the axes'."""
    ax.legend(
        *entries,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=4.6,
        ncols=3,
        frameon=False,
        fontsize="small",
        handletextpad=0.4,
        columnspacing=1.2,
    )
