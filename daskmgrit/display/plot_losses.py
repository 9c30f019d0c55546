"""The loss of serial and of parallel training side by side: against the training step, and against Phi in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.display.axes import new_axes

__all__ = ["Losses", "plot_losses"]


@dataclass(frozen=True)
class Losses:
    """Losses of both trainings at some of the steps.

    Attributes
    ----------
    steps : sequence of int
        The steps, increasing; 0 is the initial state.
    serial, parallel : sequence of float
        The loss of either training after each of them.
    """

    steps: Sequence[int]
    serial: Sequence[float]
    parallel: Sequence[float]


def plot_losses(losses: Losses, accepted: Sequence[int], axes: Any = None) -> Any:
    """Draw the losses of serial training and of parallel Newton.

    Parameters
    ----------
    losses : Losses
        The losses to draw.
    accepted : sequence of int
        Steps that each sweep accepted, see :class:`daskmgrit.Result`.
    axes : sequence of two matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    sequence of two matplotlib.axes.Axes
        Left the loss against the training step, where both lines are one if the solve converged. Right the loss against
        the number of Phi one after another, which is a step for serial training and a sweep for parallel Newton.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if axes is None:
        axes = new_axes(9.0, 3.6, ncols=2, sharey=True)
    by_step, in_a_row = axes
    done = np.cumsum(accepted)
    # A step is known after the first sweep by which it was accepted.
    sweeps = [int(np.searchsorted(done, step)) + 1 if step else 0 for step in losses.steps]
    for ax, moments, label in ((by_step, losses.steps, "training step"), (in_a_row, sweeps, "Phi in a row")):
        ax.semilogy(losses.steps, losses.serial, color="0.65", linewidth=4, label="serial")
        ax.semilogy(moments, losses.parallel, color="#0072b2", linewidth=1.5, label="parallel Newton")
        ax.set_xlabel(label)
        ax.set_xlim(0, losses.steps[-1])
    by_step.set_ylabel("loss")
    by_step.set_title("the same losses, step by step", fontsize="medium")
    in_a_row.set_title(f"{losses.steps[-1]} Phi in a row serially, {sweeps[-1]} in parallel", fontsize="medium")
    by_step.legend(frameon=False)
    return axes
