"""A plot of the residuals as a file, for the command line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from daskmgrit.cli.ends import CannotRun, note
from daskmgrit.solver.result import Result
from daskmgrit.utils.install_hint import install_hint

__all__ = ["check_plot", "save_plot"]


def check_plot(path: Path) -> None:
    """Find out before the solve what would keep the plot from being written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise CannotRun(f"--plot needs matplotlib: {install_hint('plot')}") from None
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise click.BadParameter(f"{path}: the name must end in one of {', '.join('.' + kind for kind in known)}")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{path}: the folder {path.parent} does not exist")


def save_plot(result: Result, path: Path) -> None:
    """Write the plot whole or not at all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    result.plot(figure.subplots())
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
