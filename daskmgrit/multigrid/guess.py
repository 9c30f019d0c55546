"""States of an initial guess, one place of the F-interval at a time, and their residual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.multigrid.block import interleave
from daskmgrit.multigrid.depth import after_relaxation
from daskmgrit.multigrid.intervals import Span
from daskmgrit.multigrid.relaxation import arrive, with_start
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import Squares, align, row_squares
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, Origin, as_block, device, move_like, namespace, to_host

__all__ = ["GivenRows", "GuessResidual", "UniformRows", "guess_residual", "guess_rows"]


@dataclass(frozen=True, slots=True)
class UniformRows:
    """States of the guess "zero" (w0 at point 0, elsewhere 0) or "constant" (w0 everywhere) on a chunk."""

    kind: str
    start: Array
    span: Span

    def place(self, j: int) -> Array:
        """Return the states at place j of the F-intervals."""
        xp, rows = namespace(self.start), self.span.counts[j]
        if self.kind == "constant":
            return xp.tile(self.start, (rows, 1))
        zeros = xp.zeros((rows, self.start.shape[1]), dtype=self.start.dtype, device=device(self.start))
        return _from_start(self.start, zeros) if self.span.first == 0 and j == 0 else zeros

    def before(self) -> Array | None:
        """Return the state at the point before the chunk, shape (1, s); None if there is no such point."""
        if self.span.first == 0:
            return None
        return self.start if self.kind == "constant" else namespace(self.start).zeros_like(self.start)


@dataclass(frozen=True, slots=True)
class GivenRows:
    """States of a guess that the user gave, on a chunk; point 0 is w0.

    `rows` are those of the chunk, with that of the point before the chunk if `led`.
    """

    rows: np.ndarray
    start: Array
    span: Span
    led: bool

    def place(self, j: int) -> Array:
        """Return the states at place j of the F-intervals."""
        rows = move_like(np.array(self.rows[self.led + j :: self.span.m], order="C"), self.start)
        return _from_start(self.start, rows) if self.span.first == 0 and j == 0 else rows

    def before(self) -> Array | None:
        """Return the state at the point before the chunk, shape (1, s); None if it was not given."""
        return move_like(self.rows[:1], self.start) if self.led else None


def _from_start(start: Array, rows: Array) -> Array:
    """Return the rows with the initial state in place of the first."""
    return namespace(start).concat((start, rows[1:, ...]))


def guess_rows(phi: Phi, values: Any, w0: Array | Origin, span: Span) -> UniformRows | GivenRows:
    """Return a chunk of an initial guess.

    Parameters
    ----------
    phi : callable
        The propagator, whose arrays the states are.
    values : str or ndarray
        ``"zero"``, ``"constant"``, or the rows of the chunk, shape (n, s). One row more begins with that of the point
        before the chunk.
    w0 : ndarray or Origin
        The initial state.
    span : Span
        The F-intervals of the chunk.

    Raises
    ------
    ValueError
        If given rows are not finite; that of point 0 does not count.
    """
    start = as_block(phi, w0)[None, ...]
    if isinstance(values, str):
        return UniformRows(values, start, span)
    rows = np.asarray(values, to_host(start).dtype)
    led = len(rows) > span.points
    if not np.isfinite(rows[int(span.first == 0) :]).all():
        row = span.start - led + int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise ValueError(f"initial_guess holds nan or inf, at or after row {row}: give finite weights")
    return GivenRows(rows, start, span, led)


@dataclass(frozen=True, slots=True)
class GuessResidual:
    """Residual of a chunk of a guess: its norm at each point, the depth behind each F-interval.

    `first_f` is Phi of the C-points, if it is kept.
    """

    norms: Squares
    depth: Array
    first_f: Array | None


def guess_residual(
    meter: Meter,
    c_points: Array,
    place: Callable[[int], Array],
    left: Array | None,
    first: int,
    counts: Sequence[int],
    keep: bool = False,
) -> GuessResidual:
    """Find the residual of a guess on a chunk of level 0, one place of the F-interval after another.

    Parameters
    ----------
    meter : Meter
        The propagator.
    c_points : ndarray
        The states at place 0.
    place : callable
        ``place(j)`` returns the states at place j > 0, which are held no longer than needed.
    left : ndarray, shape (1, s), or None
        State at the point before the chunk.
    first : int
        First F-interval of the chunk.
    counts : sequence of int
        Rows at each place.
    keep : bool, default False
        Whether to keep Phi of the C-points.
    """
    m, first_f = len(counts), None
    places: list[Squares] = []
    source = np.arange(first, first + counts[0]) * m
    before = c_points
    with meter.stage("initial residual", 0, first):
        for j in range(1, m):
            rows = place(j)
            stepped = meter(before[: counts[j], ...], source[: counts[j]] + (j - 1), 0)
            places.append(row_squares(stepped, rows))
            first_f = stepped if keep and j == 1 else first_f
            before = rows
            del rows, stepped
        fine = len(meter.batches)
        arrived = with_start(c_points, arrive(meter, before, left, counts[0], m, first, 0))
        places.insert(0, row_squares(arrived, c_points))
    # The calls were for F-points, first of all, and then for the C-points.
    depth = after_relaxation(np.zeros(counts[0], int), meter.batches[:fine])
    depth[left is None :] += len(meter.batches) - fine
    places = align(places)
    values = interleave([place.values for place in places])
    return GuessResidual(Squares(values, places[0].exponent), depth, first_f)
