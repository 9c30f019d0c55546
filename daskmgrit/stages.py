"""The stages of a cycle on one chunk: what a task of the graph runs.

Each takes blocks, applies the kernels of :mod:`daskmgrit.relaxation` and :mod:`daskmgrit.restriction` through a
:class:`~daskmgrit.propagators.contract.Meter`, and returns a new block. None knows of Dask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskmgrit import restriction
from daskmgrit.block import Block, Edge, Part, Record, Settled, place_counts, spread
from daskmgrit.cycle import nested_iteration, run_cycle
from daskmgrit.hierarchy import Hierarchy
from daskmgrit.propagators.contract import Meter
from daskmgrit.relaxation import Array, Phi, arrivals, c_relaxation, f_relaxation, row_norms

__all__ = [
    "CoarseStep",
    "Inline",
    "Restricted",
    "coarse_step",
    "correct",
    "enter",
    "initial",
    "interpolate",
    "probe",
    "relax",
    "report",
    "restrict",
    "solve",
    "take",
]


@dataclass(frozen=True, slots=True)
class Restricted:
    """Injected values v and u = v + r of a chunk, on their way to the coarse level.

    `v` holds only the points that are C-points there: elsewhere u replaces it (see
    :mod:`daskmgrit.restriction`).
    """

    first: int
    u: Array
    v: Array
    depth: int
    records: tuple[Record, ...]

    def __sizeof__(self) -> int:
        """Bytes held."""
        return 200 + self.u.nbytes + self.v.nbytes


@dataclass(frozen=True, slots=True)
class CoarseStep:
    """``Phi_c(v[i-1])`` of a chunk."""

    values: Array
    depth: int
    records: tuple[Record, ...]

    def __sizeof__(self) -> int:
        """Bytes held."""
        return 200 + self.values.nbytes


Left = Block | Edge | None


def _left(block: Block, left: Left) -> Edge | None:
    return None if left is None else left.edge()


def _arrive(meter: Meter, block: Block, left: Left, kind: str) -> tuple[Array, int]:
    """Return ``Phi + g`` at the C-points (computed now or before) and the depth behind it."""
    if block.arrived is not None:
        return block.arrived, block.depth
    edge = _left(block, left)
    with meter.stage(kind, block.level, block.first):
        arrived = arrivals(meter, block.points, block.rhs, edge.last_f if edge else None, block.first, block.level)
    return arrived, max(block.depth, edge.depth if edge else 0) + meter.calls


def initial(phi: Phi, block: Block, left: Left) -> Block:
    """Evaluate an initial guess: residual at all points, then F-relaxation.

    Phi at the C-points serves both.
    """
    meter = Meter(phi, 0)
    m, counts = len(block.points), block.counts
    edge = _left(block, left)
    first, level = block.first, block.level
    with meter.stage("initial residual", level, first):
        stepped = [
            meter(block.points[j - 1][: counts[j]], np.arange(first, first + counts[j]) * m + j - 1, level)
            for j in range(1, m)
        ]
        arrived = arrivals(meter, block.points, None, edge.last_f if edge else None, first, level)
        norms = np.empty(sum(counts))
        for j, rows in enumerate([arrived, *stepped]):
            norms[j::m] = row_norms(rows - block.points[j])
    depth = meter.calls
    with meter.stage("F-relaxation", level, first):
        points = f_relaxation(meter, block.points[0], counts, None, first, level, known=stepped[0])
    depth += meter.calls
    return replace(block, points=points, depth=depth, settled=Settled(norms, depth, tuple(meter.records)))


def probe(phi: Phi, block: Block, left: Left, cycle: int) -> Block:
    """Find what the next C-relaxation will find: with it the residual of `cycle` is known."""
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "C-relaxation")
    settled = Settled(row_norms(arrived - block.points[0]), depth, block.records + tuple(meter.records))
    return replace(block, arrived=arrived, depth=depth, records=(), settled=settled)


def relax(phi: Phi, block: Block, left: Left, weight: float, cycle: int, settle: bool = False) -> Block:
    """One C-relaxation and one F-relaxation; with `settle`, report the residual of the cycle before."""
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "C-relaxation")
    records, settled = block.records + tuple(meter.records), None
    if settle:
        settled = Settled(row_norms(arrived - block.points[0]), depth, records)
        records = ()
    meter.records.clear()
    with meter.stage("F-relaxation", block.level, block.first):
        points = f_relaxation(
            meter,
            c_relaxation(block.points[0], arrived, weight),
            block.counts,
            block.rhs,
            block.first,
            block.level,
        )
    return Block(
        block.level,
        block.first,
        points,
        block.rhs,
        depth + meter.calls,
        records + tuple(meter.records),
        settled=settled,
    )


def restrict(phi: Phi, block: Block, left: Left, m_coarse: int, cycle: int) -> Restricted:
    """Inject, and compute the residual at the C-points; `m_coarse` is the next level's coarsening factor."""
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "residual")
    v = block.points[0]
    return Restricted(
        block.first,
        v + (arrived - v),
        v[-block.first % m_coarse :: m_coarse],
        depth,
        tuple(meter.records),
    )


def coarse_step(phi: Phi, block: Block, left: Left, cycle: int) -> CoarseStep:
    """``Phi_c`` of the injected values; needs no residual, so it may run beside :func:`restrict`."""
    meter = Meter(phi, cycle)
    edge = _left(block, left)
    with meter.stage("coarse step", block.level + 1, block.first):
        values = restriction.coarse_step(
            meter, block.points[0], edge.last_c if edge else None, block.first, block.level + 1
        )
    depth = max(block.depth, edge.depth if edge else 0) + meter.calls
    return CoarseStep(values, depth, tuple(meter.records))


def _assemble(
    pieces: Sequence[Restricted], steps: Sequence[CoarseStep]
) -> tuple[Array, Array, Array, int, tuple[Record, ...]]:
    """Concatenate chunks to (u, v, g), their depth and records."""
    if len(pieces) == 1:
        u, v, stepped = pieces[0].u, pieces[0].v, steps[0].values
    else:
        u = np.concatenate([piece.u for piece in pieces])
        v = np.concatenate([piece.v for piece in pieces])
        stepped = np.concatenate([step.values for step in steps])
    parts: list[Restricted | CoarseStep] = [*pieces, *steps]
    records = tuple(record for part in parts for record in part.records)
    return u, v, restriction.coarse_rhs(u, stepped), max(part.depth for part in parts), records


def enter(phi: Phi, pieces: Sequence[Restricted], steps: Sequence[CoarseStep], level: int, m: int, cycle: int) -> Block:
    """Make the coarse chunk of its pieces, with its first F-relaxation.

    The first F-point of an interval needs no Phi: ``Phi_c(v[i-1]) + g_c[i] = v[i] + r[i] = u[i]``.
    """
    u, v, rhs_rows, depth, records = _assemble(pieces, steps)
    meter = Meter(phi, cycle)
    first, counts, rhs = pieces[0].first // m, place_counts(len(u), m), spread(rhs_rows, m)
    if m > 2:
        with meter.stage("F-relaxation", level, first):
            points = f_relaxation(meter, v, counts, rhs, first, level, known=u[1::m])
    else:
        points = (v, u[1::m])
    points = tuple(np.ascontiguousarray(rows) for rows in points)
    return Block(level, first, points, rhs, depth + meter.calls, records + tuple(meter.records))


def correct(phi: Phi, block: Block, coarse: Block | Part, cycle: int, records: bool = True) -> Block:
    """Correct the C-points, then F-relaxation; `records` says whether to carry the coarse levels' records on."""
    meter = Meter(phi, cycle)
    rows = coarse.rows(block.first, block.first + len(block.points[0]))
    with meter.stage("correction", block.level, block.first):
        c_points = restriction.correction(block.points[0], rows)
    with meter.stage("F-relaxation", block.level, block.first):
        points = f_relaxation(meter, c_points, block.counts, block.rhs, block.first, block.level)
    carried = coarse.records if records else ()
    return Block(
        block.level,
        block.first,
        points,
        block.rhs,
        max(block.depth, coarse.depth) + meter.calls,
        block.records + carried + tuple(meter.records),
    )


def interpolate(
    phi: Phi, coarse: Block | Part, level: int, first: int, points: int, m: int, records: bool = True
) -> Block:
    """Inject a coarse initial guess to a chunk of so many points, then F-relaxation with g = 0."""
    meter = Meter(phi, 0)
    counts = place_counts(points, m)
    rows = np.ascontiguousarray(coarse.rows(first, first + counts[0]))
    with meter.stage("F-relaxation", level, first):
        states = f_relaxation(meter, rows, counts, None, first, level)
    carried = coarse.records if records else ()
    return Block(level, first, states, None, coarse.depth + meter.calls, carried + tuple(meter.records))


def take(coarse: Block, lo: int, hi: int, records: bool) -> Part:
    """Cut the points ``lo … hi-1`` out of a coarse level, to be sent to another worker."""
    values = np.ascontiguousarray(coarse.rows(lo, hi))
    return Part(lo, values, coarse.depth, coarse.records if records else ())


def regroup(blocks: Sequence[Block], lo: int, hi: int) -> Block:
    """Put F-intervals ``lo … hi-1`` together from the chunks that hold them."""

    def cut(rows: Array, block: Block) -> Array:
        return rows[max(lo - block.first, 0) : hi - block.first]

    pieces = [tuple(cut(rows, block) for rows in block.points) for block in blocks]
    points = tuple(np.concatenate(rows) for rows in zip(*pieces, strict=True))
    ready = [cut(block.arrived, block) for block in blocks if block.arrived is not None]
    arrived = np.concatenate(ready) if len(ready) == len(blocks) else None
    return Block(blocks[0].level, lo, points, None, max(block.depth for block in blocks), arrived=arrived)


def report(blocks: Sequence[Block]) -> Settled:
    """Put the reports of several chunks together, in their order."""
    settled = [block.settled for block in blocks if block.settled is not None]
    return join(settled)


def join(settled: Sequence[Settled]) -> Settled:
    """Put reports together, in their order."""
    return Settled(
        np.concatenate([part.norms for part in settled]),
        max(part.depth for part in settled),
        tuple(record for part in settled for record in part.records),
    )


class Inline:
    """The operations of a cycle on whole levels, one after another within one task."""

    def __init__(self, phi: Phi, hierarchy: Hierarchy, cycle: int, w0: Array | None = None) -> None:
        self.phi, self.hierarchy, self.cycle, self.w0 = phi, hierarchy, cycle, w0

    def relax(self, level: int, state: Any) -> Any:
        """(CF)^nu."""
        for _ in range(self.hierarchy[level].nu):
            state = relax(self.phi, state, None, self.hierarchy[level].weight, self.cycle)
        return state

    def restrict(self, level: int, state: Any) -> Any:
        """FAS problem of the next level."""
        if level + 1 == self.hierarchy.last:
            m = self.hierarchy[level + 1].steps + 1
        else:
            m = self.hierarchy[level + 1].coarsening
        pieces = [restrict(self.phi, state, None, m, self.cycle)]
        steps = [coarse_step(self.phi, state, None, self.cycle)]
        if level + 1 == self.hierarchy.last:
            return pieces, steps
        return enter(self.phi, pieces, steps, level + 1, m, self.cycle)

    def ends_at(self, level: int) -> bool:
        """Only the coarsest level is solved in one piece."""
        return level == self.hierarchy.last

    def solve(self, level: int, state: Any, kind: str) -> Block:
        """Solve the coarsest level serially."""
        pieces, steps = state
        return coarse_solve(self.phi, pieces, steps, level, self.cycle)

    def correct(self, level: int, state: Any, coarse: Any) -> Block:
        """Coarse correction and F-relaxation."""
        return correct(self.phi, state, coarse, self.cycle)

    def solve_coarsest(self) -> tuple[int, Block]:
        """Serial solve with g = 0 from the initial value."""
        assert self.w0 is not None
        last = self.hierarchy.last
        meter = Meter(self.phi, 0)
        states = [self.w0[None]]
        with meter.stage("coarse solve", last, 0):
            for i in range(self.hierarchy[last].steps):
                states.append(meter(states[-1], np.arange(i, i + 1), last))
        return last, Block(last, 0, (np.concatenate(states),), None, meter.calls, tuple(meter.records))

    def interpolate(self, level: int, coarse: Any) -> Block:
        """Inject and F-relax."""
        size = self.hierarchy[level]
        return interpolate(self.phi, coarse, level, 0, size.steps + 1, size.coarsening)


def coarse_solve(phi: Phi, pieces: Sequence[Restricted], steps: Sequence[CoarseStep], level: int, cycle: int) -> Block:
    """Solve the coarsest level serially."""
    u, _, rhs, depth, records = _assemble(pieces, steps)
    meter = Meter(phi, cycle)
    with meter.stage("coarse solve", level, 0):
        w = restriction.serial_solve(meter, u, rhs, level)
    return Block(level, 0, (w,), None, depth + meter.calls, records + tuple(meter.records))


def solve(
    phi: Phi,
    pieces: Sequence[Restricted],
    steps: Sequence[CoarseStep],
    hierarchy: Hierarchy,
    level: int,
    kind: str,
    cycle: int,
) -> Block:
    """Run the rest of the cycle from `level` down within this task (agglomeration)."""
    if level == hierarchy.last:
        return coarse_solve(phi, pieces, steps, level, cycle)
    block = enter(phi, pieces, steps, level, hierarchy[level].coarsening, cycle)
    return run_cycle(Inline(phi, hierarchy, cycle), level, kind, block)


def whole_cycle(phi: Phi, block: Block, hierarchy: Hierarchy, cycle: int) -> Block:
    """Run a whole cycle from level 0 within this task, and find its residual."""
    block = run_cycle(Inline(phi, hierarchy, cycle), 0, hierarchy.cycle, block)
    return probe(phi, block, None, cycle)


def nested(phi: Phi, w0: Array, hierarchy: Hierarchy, down_to: int) -> Block:
    """Nested iteration from the coarsest level up to `down_to`, within this task."""
    return nested_iteration(Inline(phi, hierarchy, 0, w0), down_to)


def guess(kind: str, w0: Array, first: int, points: int, m: int) -> Block:
    """A chunk of the initial guess: "zero" (w0 at point 0, else 0) or "constant" (w0 everywhere)."""
    counts = place_counts(points, m)
    if kind == "constant":
        states = tuple(np.tile(w0, (count, 1)) for count in counts)
    else:
        states = tuple(np.zeros((count, w0.size), w0.dtype) for count in counts)
        if first == 0:
            states[0][0] = w0
    return Block(0, first, states, None)


def given(rows: Array, w0: Array, first: int, m: int) -> Block:
    """A chunk of an initial guess that the user gave; point 0 is w0."""
    rows = np.asarray(rows, w0.dtype)
    points = spread(rows, m)
    if first == 0:
        c_points = points[0].copy()
        c_points[0] = w0
        points = (c_points, *points[1:])
    return Block(0, first, points, None)
