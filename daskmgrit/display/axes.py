"""New axes to draw on, or a plain word that matplotlib is missing."""

from __future__ import annotations

from typing import Any

__all__ = ["new_axes"]


def new_axes(width: float, height: float, **grid: Any) -> Any:
    """Return the axes of a new figure of pyplot's, which a notebook shows by itself.

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
        raise ImportError("plots need matplotlib, which is not installed: pip install 'daskmgrit[plot]'") from None
    return pyplot.subplots(figsize=(width, height), layout="constrained", **grid)[1]
