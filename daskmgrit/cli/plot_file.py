"""A plot of the residuals, and of losses, as a file, for the command line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from daskmgrit.cli.ends import CannotRun, note
from daskmgrit.display.plot_losses import Losses, plot_losses
from daskmgrit.solver.result import Result
from daskmgrit.utils.install_hint import install_hint

__all__ = ["check_plot", "save_plot"]


def check_plot(path: Path) -> None:
    """Check before the solve that the plot can be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise CannotRun(f"--plot needs matplotlib: {install_hint('plot')}") from None
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise click.BadParameter(f"{path}: the name must end in one of {', '.join('.' + kind for kind in known)}")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{path}: the folder {path.parent} does not exist")


def save_plot(result: Result, path: Path, losses: Losses | None = None) -> None:
    """Write the plot of the residuals, and of losses if there are any, completely or not at all."""
    from matplotlib.figure import Figure

    if losses is None:
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        result.plot(figure.subplots())
    else:
        figure = Figure(figsize=(9.0, 7.0), layout="constrained")
        places: dict[str, Any] = figure.subplot_mosaic([["by step", "in a row"], ["residuals", "residuals"]])
        plot_losses(losses, result.accepted, (places["by step"], places["in a row"]))
        result.plot(places["residuals"])
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, suffix=path.suffix)
    os.close(handle)
    try:
        figure.savefig(name, dpi=150)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    note(f"plot written to {path}")
