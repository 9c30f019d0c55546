"""The state of one chunk of a level, which a task of the graph passes to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from daskmgrit.recurrence.meter import Record
from daskmgrit.recurrence.norms import Squares
from daskmgrit.utils.array_api import Array, copy_of, namespace, nbytes

__all__ = ["Block", "Edge", "Ghost", "Keep", "Part", "ResidualReport", "Uncorrected", "interleave"]


class ResidualReport(NamedTuple):
    """The report of a chunk on a cycle's residual."""

    norms: Squares  # of each row of the residual
    depth: int
    records: tuple[Record, ...]


class Edge(NamedTuple):
    """The two rows that the right neighbour needs, and the number of Phi behind them."""

    last_f: Array
    last_c: Array
    depth: int

    def edge(self) -> Edge:
        """Return itself, so that a neighbour may be given as an edge or as a whole block."""
        return self


class Ghost(NamedTuple):
    """The rows from which the right neighbour can relax a block's last F-interval itself.

    Attributes
    ----------
    last_f : ndarray
        The last F-points of the last two F-intervals; no rows if `arrived` is known.
    last_c : ndarray
        The last C-point, if a weighted C-relaxation needs it; else no rows.
    rhs : tuple of ndarray or None
        Right-hand sides of the last F-interval, by place.
    depth : ndarray of int
        The number of Phi behind each of the two F-intervals.
    arrived : ndarray or None
        The result of the next C-relaxation at the last C-point, if it has been computed already.
    arrival_depth : ndarray of int or None
        The depth behind it.
    """

    last_f: Array
    last_c: Array
    rhs: tuple[Array, ...] | None
    depth: Array
    arrived: Array | None
    arrival_depth: Array | None


class Part(NamedTuple):
    """Rows ``first …`` of a level, without their structure."""

    first: int
    values: Array
    depth: Array
    records: tuple[Record, ...]

    def depths(self, lo: int, hi: int) -> Array:
        """Return the depth behind each of the points ``lo … hi-1``."""
        return self.depth[lo - self.first : hi - self.first]

    def rows(self, lo: int, hi: int) -> Array:
        """Return the points ``lo … hi-1`` of the level."""
        return self.values[lo - self.first : hi - self.first, ...]

    def by_place(self, lo: int, hi: int) -> tuple[Array, ...]:
        """Return the same as :meth:`Block.by_place` does."""
        return (self.rows(lo, hi),)


class Keep(Enum):
    """The part of a block that its coarse block holds for the correction."""

    TO_CORRECT = auto()
    """C-points, and right-hand sides of F-points."""
    TO_RELAX = auto()
    """Those of C-points, too: once it is corrected it will be relaxed."""


@dataclass(frozen=True, slots=True)
class Block:
    """The F-intervals ``first …`` of a level.

    Attributes
    ----------
    level : int
        The level.
    first : int
        Number of the first F-interval.
    points, rhs : tuple of ndarray
        States and right-hand sides by place in the F-interval (see :mod:`daskmgrit.multigrid.relaxation`).
        On the coarsest level there is one place: every point.
    depth : ndarray of int, one per F-interval
        Longest chain of Phi behind the points of each, as if each were a task of its own.
    records : tuple of Record
        Records of this cycle up to this state.
    arrived : ndarray or None
        The result of the next C-relaxation (``Phi + g``), if it has been computed already.
    arrival_depth : ndarray of int or None
        The depth behind each row of `arrived`.
    settled : ResidualReport or None
        The report on the cycle before, once its residual is known.
    finer : Uncorrected or None
        On a coarse level: the state of the same chunk of the next finer level, which waits for its correction.
    """

    level: int
    first: int
    points: tuple[Array, ...]
    rhs: tuple[Array, ...] | None
    depth: Array
    records: tuple[Record, ...] = ()
    arrived: Array | None = None
    arrival_depth: Array | None = None
    settled: ResidualReport | None = None
    finer: Uncorrected | None = None

    @property
    def deferred(self) -> tuple[int, ...]:
        """Rows of each step of an F-relaxation deferred to a later stage; its calls count in its own stage."""
        return ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows at each place of the F-interval."""
        return tuple(rows.shape[0] for rows in self.points)

    @property
    def point_range(self) -> tuple[int, int]:
        """Its first point, and the one after its last."""
        start = self.first * len(self.points)
        return start, start + sum(self.counts)

    def edge(self) -> Edge:
        """Return the rows that the block to the right needs of this one."""
        return Edge(copy_of(self.points[-1][-1:, ...]), copy_of(self.points[0][-1:, ...]), int(self.depth[-1]))

    def ghost(self, weight: float) -> Ghost:
        """Return the rows from which the block to the right can relax the last F-interval of this one."""
        last_f, last_c = self.points[-1][-2:, ...], self.points[0][-1:, ...]
        return Ghost(
            copy_of(last_f if self.arrived is None else last_f[:0, ...]),
            copy_of(last_c[:0, ...] if weight == 1.0 else last_c),
            None if self.rhs is None else tuple(copy_of(rows[-1:, ...]) for rows in self.rhs),
            self.depth[-2:].copy(),
            None if self.arrived is None else copy_of(self.arrived[-1:, ...]),
            None if self.arrival_depth is None else self.arrival_depth[-1:].copy(),
        )

    def uncorrected(self, keep: Keep) -> Uncorrected:
        """Return the part of this block that the correction needs; the correction computes the F-points again."""
        rhs = self.rhs
        if rhs is not None and keep is Keep.TO_CORRECT:
            rhs = (copy_of(rhs[0][:0, ...]), *rhs[1:])
        bare = replace(self, points=self.points[:1], rhs=rhs, arrived=None, arrival_depth=None, settled=None)
        return Uncorrected(bare, self.counts)

    def depths(self, lo: int, hi: int) -> Array:
        """Return the depth behind each of the points ``lo … hi-1``."""
        m = len(self.points)
        a, b = lo // m - self.first, (hi - 1) // m + 1 - self.first
        start = lo - (a + self.first) * m
        return self.depth[a:b].repeat(m)[start : start + hi - lo]

    def rows(self, lo: int | None = None, hi: int | None = None) -> Array:
        """Return the points ``lo … hi-1`` of the level (by default all of the block) as an (n, s) array."""
        m = len(self.points)
        offset, end = self.point_range
        lo = offset if lo is None else lo
        hi = end if hi is None else hi
        if m == 1:
            return self.points[0][lo - offset : hi - offset, ...]
        a, b = lo // m - self.first, (hi - 1) // m + 1 - self.first
        whole = interleave([rows[a : min(b, rows.shape[0]), ...] for rows in self.points])
        start = lo - (a + self.first) * m
        return whole[start : start + hi - lo, ...]

    def by_place(self, lo: int, hi: int) -> tuple[Array, ...]:
        """Return the points ``lo … hi-1`` by place in an interval, without a copy if these are all points."""
        return self.points if (lo, hi) == self.point_range else (self.rows(lo, hi),)

    def __sizeof__(self) -> int:
        """Bytes held, so that Dask estimates transfers and spilling correctly."""
        arrays = [*self.points, *(self.rhs or ())]
        arrays += [array for array in (self.arrived, self.settled and self.settled.norms.values) if array is not None]
        return 200 + sum(map(nbytes, arrays)) + (self.finer.block.__sizeof__() if self.finer else 0)


class Uncorrected(NamedTuple):
    """A block without its F-points, and the rows that it had at each place of the F-interval."""

    block: Block
    counts: tuple[int, ...]


def interleave(places: Sequence[Array]) -> Array:
    """Join points from their places in the F-interval."""
    first, m = places[0], len(places)
    if isinstance(first, np.ndarray):
        whole = np.empty((sum(map(len, places)), *first.shape[1:]), first.dtype)
        for j, rows in enumerate(places):
            whole[j::m] = rows
        return whole
    xp, full = namespace(first), places[-1].shape[0]
    whole = xp.reshape(xp.stack([rows[:full, ...] for rows in places], axis=1), (full * m, *first.shape[1:]))
    # The last F-interval may be partial.
    rest = [rows[full:, ...] for rows in places if rows.shape[0] > full]
    return xp.concat((whole, *rest)) if rest else whole
