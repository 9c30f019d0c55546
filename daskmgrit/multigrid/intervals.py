"""F-intervals of a level: the points of a run of them, and their number at each place of the interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Span", "chunk_points", "place_counts"]


def chunk_points(m: int, steps: int, bounds: Sequence[int] | NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the number of points of each chunk of a level; the last F-interval may be partial.

    Parameters
    ----------
    m : int
        Coarsening factor of the level.
    steps : int
        Steps of the level, which has points ``0 … steps``.
    bounds : sequence of int
        Chunk j holds the F-intervals ``bounds[j] … bounds[j+1]-1``.

    Examples
    --------
    >>> chunk_points(3, 10, (0, 2, 4)).tolist()
    [6, 5]
    """
    return np.diff(np.minimum(np.asarray(bounds) * m, steps + 1))


def place_counts(points: int, m: int) -> list[int]:
    """Return the number of rows at each place of the F-interval, for a block of this many consecutive points.

    Examples
    --------
    >>> place_counts(8, 3)
    [3, 3, 2]
    """
    return [len(range(j, points, m)) for j in range(m)]


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive F-intervals of a level.

    Attributes
    ----------
    first, last : int
        The F-intervals are ``first … last-1``.
    m : int
        Coarsening factor of the level.
    steps : int
        Steps of the level.

    Examples
    --------
    >>> span = Span(2, 4, m=3, steps=10)
    >>> span.start, span.points, span.counts
    (6, 5, [2, 2, 1])
    """

    first: int
    last: int
    m: int
    steps: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def start(self) -> int:
        """The first point."""
        return self.first * self.m

    @property
    def points(self) -> int:
        """Number of points."""
        return int(chunk_points(self.m, self.steps, (self.first, self.last))[0])

    @property
    def counts(self) -> list[int]:
        """Number of rows at each place of the F-interval."""
        return place_counts(self.points, self.m)
