"""The levers on the critical path that are tuned, and the values to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daskmgrit.coarse.chebyshev import DAMPING
from daskmgrit.coarse.rule import CoarseRule
from daskmgrit.coarse.stabilise import RatedPhi, stabilise
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["DEFAULT_GRID", "Settings", "default_grid", "rated"]


@dataclass(frozen=True, slots=True)
class Settings:
    """One choice of all levers.

    Attributes
    ----------
    max_rate : float or None
        alpha_max; None for a Phi that chooses its own coarse steps: then `coarse` has no effect.
    coarsening : tuple of int
        m of each level, the last repeating.
    relaxation : tuple of str
        Relaxation of each level, the last repeating.
    min_coarse : int
        Levels are added while the coarsest has more steps than this: a small value makes the coarsest level's steps few
        and long.
    coarse : str
        "capped", "substeps" or "chebyshev".
    max_stages : int or None
        Maximum number of stages of a coarse step.
    window : int or None
        B, the maximum number of fine steps whose data a coarse step sees; None if all steps see the same data.
    """

    max_rate: float | None
    coarsening: tuple[int, ...] = (2,)
    relaxation: tuple[str, ...] = ("FCF",)
    min_coarse: int = 10
    coarse: str = "chebyshev"
    max_stages: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        if self.max_rate is not None:
            number_option("max_rate", self.max_rate, "alpha_max is a positive number", above=0)
            if self.coarse == "deflated":
                raise ValueError(
                    'coarse="deflated" is not tuned: its curvatures are found for one alpha_max, see '
                    'daskmgrit.coarse.find_curvatures; give "chebyshev" or "exponential"'
                )
            # For any alpha_b, which the propagator knows.
            CoarseRule(self.coarse, self.max_rate, max_stages=self.max_stages, fine_rate=self.max_rate)
        for name in ("coarsening", "relaxation"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"{name}={getattr(self, name)!r} is not a tuple: give one value per level, as (2,)")
        if self.window is not None:
            integer_option("window", self.window, 1, "B is the maximum number of fine steps that a coarse step sees")

    def hierarchy(self) -> dict[str, Any]:
        """Return the options of :class:`daskmgrit.MGRIT`."""
        return {
            "coarsening": list(self.coarsening),
            "relaxation": list(self.relaxation),
            "min_coarse": self.min_coarse,
        }

    def cells(self) -> list[str]:
        """Return the values as text, in the order of the fields."""
        return [
            "-" if self.max_rate is None else f"{self.max_rate:g}",
            ",".join(map(str, self.coarsening)),
            ",".join(self.relaxation),
            str(self.min_coarse),
            "-" if self.max_rate is None else self.coarse,
            "-" if self.max_stages is None else str(self.max_stages),
            "-" if self.window is None else str(self.window),
        ]

    def tried(self, lever: str, value: Any) -> Settings:
        """Return the same with one lever moved."""
        return replace(self, **{lever: value})


# In the order in which they are tried. Factors of max_rate are relative to the start.
DEFAULT_GRID: dict[str, Sequence[Any]] = {
    "max_rate": (0.5, 1, 1.5, 2, 3),
    # One stage is the capped step.
    "max_stages": (None, 1, 2, 3, 4, 6, 8),
    "coarsening": ((2,), (4,), (8,), (2, 2, 2, 2, 8), (2, 8, 4), (2, 12, 5, 3), (16, 4)),
    "relaxation": (
        ("FCF",),
        ("F",),
        ("F", "FCF"),
        ("FCF", "F"),
        ("FCF", "FCF", "F"),
        ("FCF", "FCF", "FCF", "FCF", "F"),
        ("FCFCF", "FCF"),
        ("FCFCF", "FCF", "FCFCF", "FCF", "F"),
    ),
    "min_coarse": (10, 5, 20),
    "window": (32, 128, 512),
}


def default_grid(start: Settings) -> dict[str, Sequence[Any]]:
    """Return the default values to try for each lever.

    Examples
    --------
    >>> default_grid(Settings(8.0))["max_rate"], "window" in default_grid(Settings(8.0))
    ((4.0, 8.0, 12.0, 16.0, 24.0), False)
    """
    grid = dict(DEFAULT_GRID)
    # An exponential step has neither alpha_max nor stages.
    if start.max_rate is None or start.coarse == "exponential":
        del grid["max_rate"], grid["max_stages"]
    else:
        grid["max_rate"] = tuple(start.max_rate * factor for factor in DEFAULT_GRID["max_rate"])
    if start.window is None:
        del grid["window"]
    return grid


def rated(phi_of_rate: RatedPhi, rate: float, damping: float = DAMPING) -> Callable[[Settings], Phi]:
    """Return the `make_phi` of :func:`daskmgrit.tune.tune` for a descent step that takes a learning rate.

    Parameters
    ----------
    phi_of_rate : callable
        ``phi_of_rate(weights, index, level, rate) -> new weights``, see :class:`daskmgrit.coarse.stabilise`. One that
        sees windows must follow the coarsening factors and the window that are tried, as
        :class:`daskmgrit.coarse.from_fine` does: by a method ``tried(coarsening, window)`` that returns another.
    rate : float
        alpha_b.
    damping : float, default 0.05
        eps of the Chebyshev step.
    """

    def make(settings: Settings) -> Phi:
        tried = getattr(phi_of_rate, "tried", None)
        if tried is None and settings.window is not None:
            raise ValueError(
                f"window={settings.window}: {phi_of_rate!r} has no method tried(coarsening, window), so its "
                "window cannot be tuned; leave window out of start and grid, or make it by daskmgrit.coarse.from_fine"
            )
        return stabilise(
            tried(settings.coarsening, settings.window) if tried else phi_of_rate,
            rate,
            max(settings.max_rate or rate, rate),
            settings.coarsening,
            settings.coarse,
            damping,
            settings.max_stages,
        )

    return make
