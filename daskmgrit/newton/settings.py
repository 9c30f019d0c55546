"""The checked settings of a solve by parallel Newton, and the choice of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskmgrit.newton.acceptance import is_exact
from daskmgrit.newton.sizes import ByAcceptance, ByCorrections, Fixed, Size
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["JACOBIANS", "WORK", "NewtonSettings", "choose_jacobian", "choose_size", "is_auto", "whole_run"]

JACOBIANS = ("identity", "lowrank", "full")
WORK = "give a number of at least 1, the evaluations of a step on average"


@dataclass(frozen=True, slots=True)
class NewtonSettings:
    """Settings of the iteration of windows.

    Parameters
    ----------
    steps : int
        N.
    tol : float
        2-norm of the residual over all steps. With 0 the result is bitwise that of serial training.
    jacobian : {"identity", "lowrank", "full"}, default "identity"
        Approximation of the steps' Jacobians.
    size : Size
        Rule for the number of slots of a window.
    interval : int, default 1
        Steps of a slot: the number of Phi in a row each sweep.
    rank : int, default 32
        Directions of largest curvature that "lowrank" takes into account.
    groups : int, default 1
        Groups of slots of a window with a matrix of their own for "lowrank".
    reach : float, default 0.25
        Share of the window, from its front on, in which these matrices are measured: later states may be far off.
    samples : int, default 22
        Slots of each group over which its matrix is a mean.
    refresh : int, default 4
        Sweeps from one step of the power method to the next.
    start_up : int, default 5
        Steps of the power method in the first sweep.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    steps: int
    tol: float
    jacobian: str = "identity"
    size: Size = field(default_factory=ByAcceptance)
    interval: int = 1
    rank: int = 32
    groups: int = 1
    reach: float = 0.25
    samples: int = 22
    refresh: int = 4
    start_up: int = 5

    @property
    def exactly(self) -> bool:
        """Whether the result has the bits of serial training."""
        return is_exact(self.tol)

    def __post_init__(self) -> None:
        integer_option("steps", self.steps, 1, "it is the number of training steps")
        number_option("tol", self.tol, "it is the 2-norm of the residual over all steps, at least 0", least=0)
        if self.jacobian not in JACOBIANS:
            raise ValueError(f"jacobian={self.jacobian!r} is not known: give one of {', '.join(JACOBIANS)}")
        for name in ("interval", "rank", "groups", "samples", "refresh", "start_up"):
            integer_option(name, getattr(self, name), 1, "there must be at least one")
        if not 0 < self.reach <= 1:
            raise ValueError(
                f"reach={self.reach!r} is out of range: it is a share of the window, more than 0, at most 1"
            )


def whole_run(
    steps: int, tol: float, interval: int = 2, rank: int = 16, groups: int = 16, **options: Any
) -> NewtonSettings:
    """Return settings for Newton's method on the whole run at once, for short horizons.

    Parameters
    ----------
    steps, tol
        See :class:`NewtonSettings`.
    interval : int, default 2
        Steps of a slot.
    rank : int, default 16
        Number of directions of largest curvature.
    groups : int, default 16
        Groups of slots with a matrix of their own.
    **options
        Others of :class:`NewtonSettings`.
    """
    slots = -(-steps // integer_option("interval", interval, 1, "it is the number of steps of a slot"))
    given: dict[str, Any] = {
        "jacobian": "lowrank",
        "size": Fixed(slots),
        "reach": 1.0,
        # Steps that see different examples have different Jacobians, and states all over the run change with each
        # sweep: with 4 samples and a refresh every other sweep the four-layer net, N = 12,800, takes twice the sweeps.
        # As many samples as cost about as much as the sweep itself.
        "samples": max(2, min(24, steps // (rank * groups * interval))),
        "refresh": 1,
        "start_up": 6,
    }
    given |= options
    return NewtonSettings(steps, tol, interval=interval, rank=rank, groups=min(groups, slots), **given)


def choose_jacobian(asked: str, dtype: Any = np.float64) -> str:
    """Return the Jacobian for the option `asked`; "auto" is "identity".

    For small states all Jacobians could be computed. That takes s + 1 Phi for each slot, which is faster only if the
    number of workers is many times s.

    Raises
    ------
    ValueError
        If the Jacobian needs linear algebra that does not exist for states of this dtype.
    """
    if asked in ("auto", "identity"):
        return "identity"
    if np.dtype(dtype).char not in "fdFD":
        raise ValueError(
            f"jacobian={asked!r} needs linear algebra that does not exist for {np.dtype(dtype)}: start from "
            'w0 of float32 or float64, or give jacobian="identity"'
        )
    return asked


def is_auto(window: Any) -> bool:
    """Whether the rule for the number of slots is left to the solve."""
    return isinstance(window, str) and window == "auto"


def choose_size(window: int | str, jacobian: str, most: int | None = None, work: float = 3.0) -> Size:
    """Return the rule for the number of slots.

    Parameters
    ----------
    window : int or "auto"
        The number of slots; "auto" follows the accepted steps.
    jacobian : str
        Newton's method with all Jacobians has its own rule, by the window's distance from the solution.
    most : int, optional
        Maximum number of slots that workers can evaluate at once.
    work : float, default 3
        Maximum number of evaluations of a step, on average; without effect on Newton's method.
    """
    if not is_auto(window):
        return Fixed(integer_option("window", window, 1, 'give the number of slots, or "auto"'))
    if most is not None:
        integer_option("most", most, 1, "it is the maximum number of slots")
    number_option("work", work, WORK, least=1)
    return ByCorrections(most) if jacobian == "full" else ByAcceptance(most, work)
