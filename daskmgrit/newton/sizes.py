"""The number of slots of the next window: fixed, or by the steps that recent sweeps accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

__all__ = ["ByAcceptance", "ByCorrections", "Fixed", "Size", "new_pace"]

# Weight of the last sweep in the running mean of accepted slots.
SHARE = 0.2


class Size(Protocol):
    """A rule for the number of slots; it is a function of what the last sweeps did, and has no memory of its own."""

    @property
    def first(self) -> int:
        """Slots of the first window."""

    @property
    def most(self) -> int | None:
        """Maximum number of slots; None for no maximum."""

    @property
    def needs_lengths(self) -> bool:
        """Whether the lengths of corrections count, so that no slot of the next window is known before all are."""

    def next(self, slots: int, pace: float, lengths: np.ndarray | None) -> int:
        """Return the slots of the next window.

        Parameters
        ----------
        slots : int
            Those of the last one.
        pace : float
            Slots that recent sweeps accepted, on average.
        lengths : ndarray, shape (k,), or None
            Lengths of the last corrections, from the first slot on whose state was not accepted unchanged; None if the
            rule does not need them.
        """


def new_pace(pace: float, accepted: int) -> float:
    """Return the running mean of accepted slots; after the first sweep it is that sweep's number."""
    return float(accepted) if pace == 0.0 else (1 - SHARE) * pace + SHARE * accepted


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed number of slots."""

    first: int
    needs_lengths: ClassVar[bool] = False

    @property
    def most(self) -> int:
        """Maximum number of slots."""
        return self.first

    def next(self, slots: int, pace: float, lengths: np.ndarray | None) -> int:
        """Return the same number."""
        return self.first


@dataclass(frozen=True, slots=True)
class ByAcceptance:
    """The number of slots that bounds the work: a step is evaluated slots/pace times before it is accepted.

    Parameters
    ----------
    most : int, optional
        Maximum number of slots that can be evaluated at once. None for no maximum.
    work : float, default 3
        Maximum number of evaluations of a step, on average.
    first : int, default 4
        Slots of the first window.
    """

    most: int | None = None
    work: float = 3.0
    first: int = 4
    needs_lengths: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.most is not None:
            object.__setattr__(self, "first", min(self.first, self.most))

    def next(self, slots: int, pace: float, lengths: np.ndarray | None) -> int:
        """Change towards work times pace, by at most a quarter, because acceptance depends on the window itself."""
        wanted, change = math.floor(self.work * pace), max(1, slots // 4)
        size = max(1, min(max(wanted, slots - change), slots + change))
        return size if self.most is None else min(size, self.most)


@dataclass(frozen=True, slots=True)
class ByCorrections:
    """Twice the slots if Newton's method is near the solution in the whole window, half of them if it is not.

    Parameters
    ----------
    most : int, optional
        Maximum number of slots. None for no maximum.
    first : int, default 64
        Slots of the first window.
    least : int, default 32
        Minimum number of slots after halving.
    near : float, default 1
        Length of a correction from which its slot counts as far from the solution.
    """

    most: int | None = None
    first: int = 64
    least: int = 32
    near: float = 1.0
    needs_lengths: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.most is not None:
            object.__setattr__(self, "first", min(self.first, self.most))

    def next(self, slots: int, pace: float, lengths: np.ndarray | None) -> int:
        """Double, halve, or keep the window."""
        assert lengths is not None
        far = np.flatnonzero(~(lengths < self.near))
        if not len(far):
            size = 2 * slots
        elif far[0] < slots / 4:
            size = max(self.least, slots // 2)
        else:
            size = slots
        return size if self.most is None else min(size, self.most)
