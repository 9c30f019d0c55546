"""Values given per level of the hierarchy, the last of which repeats on all coarser levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["growth", "per_level", "spread"]

T = TypeVar("T")


def per_level(values: Sequence[T], level: int) -> T:
    """Return the value of a level: its own entry, or the last one beyond the end.

    Examples
    --------
    >>> [per_level((4, 2), level) for level in range(4)]
    [4, 2, 2, 2]
    """
    return values[min(level, len(values) - 1)]


def spread(values: Sequence[T], levels: int) -> list[T]:
    """Return the values of the first `levels` levels."""
    return [per_level(values, level) for level in range(levels)]


def growth(coarsening: float | Sequence[float], level: int) -> float | int:
    """Return the product of the coarsening factors above `level`: the fine steps that one of its steps stands for.

    Examples
    --------
    >>> growth(2, 3), growth((4, 2), 3)
    (8, 16)
    """
    if not isinstance(coarsening, Sequence):
        return coarsening**level
    total: float | int = 1
    for m in spread(coarsening, level):
        total = total * m
    return total
