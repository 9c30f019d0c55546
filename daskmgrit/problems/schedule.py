"""Factors of a learning rate over a run."""

from __future__ import annotations

import math

__all__ = ["half_cosine"]


def half_cosine(step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step: from 1 down towards 0 over `steps`, along half a cosine.

    Examples
    --------
    >>> [round(half_cosine(step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
