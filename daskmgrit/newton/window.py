"""The window: the steps of the current iteration, as plain data between two sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from daskmgrit.newton.error_estimate import Growth
from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["SlidingWindow", "first_window", "fitting_slots", "slide", "slot_steps"]


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """States of successive slots; a slot is `interval` steps in a row, one by default.

    Attributes
    ----------
    first : int
        p, the step whose state, row 0, is final. Steps before it are accepted.
    states : Array, shape (n+1, s)
        The state where each slot begins, and where the last one ends.
    spent : float
        Sum of the squared residuals of all accepted steps, in the units of
        :func:`~daskmgrit.newton.acceptance.unit_of`.
    pace : float
        Slots that recent sweeps accepted, on average.
    growth : Growth
        The known growth of errors over slots, and the estimated error of row 0.
    """

    first: int
    states: Array
    spent: float
    pace: float
    growth: Growth

    @property
    def slots(self) -> int:
        """n, the number of slots."""
        return int(self.states.shape[0]) - 1


def slot_steps(first: int, slots: int, steps: int, interval: int) -> np.ndarray:
    """Return the step at which each slot begins, and the last one's end, shape (n+1,); none is beyond step N."""
    return np.minimum(first + interval * np.arange(slots + 1), steps)


def fitting_slots(first: int, slots: int, steps: int, interval: int) -> int:
    """Return the number of `slots` slots from step `first` on that begin before step N."""
    return min(slots, -(-(steps - first) // interval))


def first_window(start: Array, slots: int, steps: int, interval: int = 1) -> SlidingWindow:
    """Return the window before the first sweep: every state is a guess, the initial state.

    Parameters
    ----------
    start : Array, shape (1, s)
        The initial state.
    slots : int
        Slots of the window, fewer if there are fewer steps.
    steps : int
        N.
    interval : int, default 1
        Steps of a slot.
    """
    n = fitting_slots(0, slots, steps, interval)
    return SlidingWindow(0, namespace(start).concat([start] * (n + 1), axis=0), 0.0, 0.0, Growth())


def slide(states: Iterable[Array], slots: int) -> Iterator[Array]:
    """Yield the states of the next window in runs of rows, n + 1 altogether: new slots begin with the last state.

    Parameters
    ----------
    states : iterable of Array, shape (k, s) each
        The last accepted state and those after it that were not accepted. No more of them are asked for than are
        needed. From the first state that is not finite on, all are replaced by the state before it.
    slots : int
        n of the next window; states beyond are dropped.
    """
    missing, last = slots + 1, None
    for rows in states:
        rows = rows[: min(missing, int(rows.shape[0])), ...]
        xp = namespace(rows)
        finite = to_host(xp.all(xp.isfinite(rows), axis=1))
        kept = len(finite) if finite.all() else int(np.argmin(finite))
        # The accepted state is finite.
        kept = max(1, kept) if last is None else kept
        if kept:
            rows, missing = rows[:kept, ...], missing - kept
            last = rows[kept - 1 :, ...]
            yield rows
        if not missing or kept < len(finite):
            break
    if missing and last is not None:
        yield namespace(last).concat([last] * missing, axis=0)
