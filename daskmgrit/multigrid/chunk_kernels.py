"""The stages of a cycle on one chunk, which the tasks of the graph run.

Each takes blocks, applies the kernels of :mod:`daskmgrit.multigrid.relaxation` and :mod:`daskmgrit.multigrid.fas`
through a :class:`~daskmgrit.recurrence.meter.Meter`, and returns a new block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskmgrit.multigrid import fas
from daskmgrit.multigrid.block import Block, Edge, Keep, Part, ResidualReport, Uncorrected
from daskmgrit.multigrid.c_points import CPoints, arrive_from_c
from daskmgrit.multigrid.depth import after_arrival, after_deferred, after_relaxation
from daskmgrit.multigrid.guess import guess_residual, guess_rows
from daskmgrit.multigrid.intervals import Span, place_counts
from daskmgrit.multigrid.relaxation import arrivals, c_relaxation, f_relaxation, with_start
from daskmgrit.multigrid.state_transfer import restricted, start_of, transfer_of
from daskmgrit.recurrence import norms
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.utils.array_api import Array, Origin, compact, namespace, nbytes

__all__ = [
    "CoarseStep",
    "RestrictedChunk",
    "coarse_solve",
    "coarse_step",
    "correct",
    "enter",
    "evaluate",
    "guess",
    "injected",
    "interpolate",
    "probe",
    "relax",
    "report",
    "restore",
    "restrict",
    "restricted_chunk",
    "settle_and_relax",
    "take",
]


@dataclass(frozen=True, slots=True)
class RestrictedChunk:
    """Injected values v and u = v + r of a chunk, on their way to the coarse level.

    `v` holds only the points that are C-points there: elsewhere u replaces it (see
    :mod:`daskmgrit.multigrid.fas`). `finer` is what the chunk waits with for its correction, where this or the coarse
    chunk is to hold it; `settled` is the report on the cycle before, if the chunk was relaxed in the same task.
    """

    first: int
    u: Array
    v: Array
    depth: Array
    records: tuple[Record, ...]
    finer: Uncorrected | None = None
    settled: ResidualReport | None = None

    def __sizeof__(self) -> int:
        """Bytes held."""
        held = self.finer.block.__sizeof__() if self.finer else 0
        return 200 + nbytes(self.u) + nbytes(self.v) + held


@dataclass(frozen=True, slots=True)
class CoarseStep:
    """``Phi_c(v[i-1])`` of a chunk; `values` has no row for point 0."""

    values: Array
    depth: Array
    records: tuple[Record, ...]

    def __sizeof__(self) -> int:
        """Bytes held."""
        return 200 + nbytes(self.values)


Left = Block | Edge | None


def _edge(left: Left) -> Edge | None:
    return None if left is None else left.edge()


def _arrive(meter: Meter, block: Block, left: Left, kind: str) -> tuple[Array, Array]:
    """Return ``Phi + g`` at the C-points (computed now or before) and the depth behind each.

    The former may have no row for point 0, see :func:`~daskmgrit.multigrid.relaxation.with_start`.
    """
    if block.arrived is not None and block.arrival_depth is not None:
        return block.arrived, block.arrival_depth
    edge = _edge(left)
    if isinstance(block, CPoints):
        return arrive_from_c(meter, block, edge, kind)
    with meter.stage(kind, block.level, block.first):
        arrived = arrivals(meter, block.points, block.rhs, edge.last_f if edge else None, block.first, block.level)
    return arrived, after_arrival(block.depth, edge.depth if edge else None, len(meter.batches))


def guess(phi: Phi, values: Any, w0: Array | Origin, span: Span) -> Block:
    """Make a chunk of the initial guess; `values` are those of :func:`~daskmgrit.multigrid.guess.guess_rows`."""
    rows = guess_rows(phi, values, w0, span)
    return Block(0, span.first, tuple(map(rows.place, range(span.m))), None, np.zeros(len(span), int))


def evaluate(phi: Phi, block: Block, left: Left) -> Block:
    """Evaluate an initial guess: residual at all points, then F-relaxation.

    Phi at the C-points serves both.
    """
    meter = Meter(phi, 0)
    edge, c_points, counts, first, level = _edge(left), block.points[0], block.counts, block.first, block.level
    last_f = edge.last_f if edge else None
    found = guess_residual(meter, c_points, block.points.__getitem__, last_f, first, counts, keep=True)
    with meter.stage("F-relaxation", level, first):
        points = f_relaxation(meter, c_points, counts, None, first, level, known=found.first_f)
    depth = after_relaxation(found.depth, meter.batches)
    return replace(
        block, points=points, depth=depth, settled=ResidualReport(found.norms, int(depth.max()), tuple(meter.records))
    )


def probe(phi: Phi, block: Block, left: Left, cycle: int) -> Block:
    """Compute the result of the next C-relaxation, which also gives the residual of `cycle`."""
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "C-relaxation")
    arrived = with_start(block.points[0], arrived)
    settled = ResidualReport(
        norms.row_squares(arrived, block.points[0]), int(depth.max()), block.records + tuple(meter.records)
    )
    return replace(block, arrived=arrived, arrival_depth=depth, records=(), settled=settled)


def relax(phi: Phi, block: Block, left: Left, weight: float, cycle: int) -> Block:
    """One C-relaxation and one F-relaxation."""
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "C-relaxation")
    c_points = c_relaxation(block.points[0], with_start(block.points[0], arrived), weight)
    with meter.stage("F-relaxation", block.level, block.first):
        points = f_relaxation(meter, c_points, block.counts, block.rhs, block.first, block.level)
    return _moved(block, phi, points, after_relaxation(depth, meter.batches), block.records + tuple(meter.records))


def _moved(block: Block, phi: Phi, points: tuple[Array, ...], depth: Array, records: tuple[Record, ...]) -> Block:
    """Return a block with other points; arrivals at the old points are dropped."""
    depth = after_deferred(depth, block.deferred, stages_of(phi, block.level))
    return replace(block, points=points, depth=depth, records=records, arrived=None, arrival_depth=None, settled=None)


def settle_and_relax(phi: Phi, block: Block, left: Left, weight: float, cycle: int) -> Block:
    """One C-relaxation, which settles the residual of the cycle before, and one F-relaxation."""
    probed = probe(phi, block, left, cycle - 1)
    return replace(relax(phi, probed, None, weight, cycle), settled=probed.settled)


def restrict(
    phi: Phi, block: Block, left: Left, m_coarse: int, cycle: int, keep: Keep | None = None
) -> RestrictedChunk:
    """Inject, and compute the residual at the C-points; `m_coarse` is the next level's coarsening factor.

    `keep` is the part of this chunk that the result holds.
    """
    meter = Meter(phi, cycle)
    arrived, depth = _arrive(meter, block, left, "residual")
    piece = restricted_chunk(phi, block, arrived, depth, tuple(meter.records), m_coarse)
    return replace(piece, finer=block.uncorrected(keep)) if keep else piece


def restricted_chunk(
    phi: Phi, block: Block, arrived: Array, depth: Array, records: tuple[Record, ...], m_coarse: int
) -> RestrictedChunk:
    """Inject, and add the residual: the difference between the arrivals at the C-points and those."""
    v, transfer = block.points[0], transfer_of(phi, block.level)
    if transfer is None:
        u = fas.with_residual(v, arrived)
    else:
        difference = transfer.restrict(with_start(v, arrived) - v, block.level)
        v = transfer.restrict(v, block.level)
        u = v + difference
    return RestrictedChunk(
        block.first,
        u,
        v[min(-block.first % m_coarse, v.shape[0]) :: m_coarse, ...],
        depth,
        records,
    )


def coarse_step(phi: Phi, block: Block, left: Left, cycle: int) -> CoarseStep:
    """``Phi_c`` of the injected values; needs no residual, so it may run in parallel with :func:`restrict`."""
    meter = Meter(phi, cycle)
    edge = _edge(left)
    v = restricted(phi, block.points[0], block.level)
    before = restricted(phi, edge.last_c, block.level) if edge else None
    with meter.stage("coarse step", block.level + 1, block.first):
        values = fas.coarse_step(meter, v, before, block.first, block.level + 1)
    depth = after_arrival(block.depth, edge.depth if edge else None, len(meter.batches))
    return CoarseStep(values, depth, tuple(meter.records))


def _assemble(
    pieces: Sequence[RestrictedChunk], steps: Sequence[CoarseStep]
) -> tuple[Array, Array, Array, Array, tuple[Record, ...]]:
    """Concatenate chunks to (u, v, Phi_c(v)), the depth behind each point, and the records."""
    u, v = _joined([piece.u for piece in pieces]), _joined([piece.v for piece in pieces])
    stepped = _joined([step.values for step in steps])
    depth = np.maximum(_joined([piece.depth for piece in pieces]), _joined([step.depth for step in steps]))
    parts: list[RestrictedChunk | CoarseStep] = [*pieces, *steps]
    return u, v, stepped, depth, tuple(record for part in parts for record in part.records)


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts)


def enter(
    phi: Phi, pieces: Sequence[RestrictedChunk], steps: list[CoarseStep], level: int, m: int, cycle: int
) -> Block:
    """Make the coarse chunk of its pieces, with its first F-relaxation; `steps` is emptied.

    The first F-point of an interval needs no Phi: ``Phi_c(v[i-1]) + g_c[i] = v[i] + r[i] = u[i]``.
    """
    u, v, stepped, behind, records = _assemble(pieces, steps)
    meter = Meter(phi, cycle)
    first = pieces[0].first // m
    rhs = fas.coarse_rhs(u, stepped, m)
    # Not to be held while points are copied and made.
    del stepped
    steps.clear()
    depth = np.maximum.reduceat(behind, np.arange(0, len(behind), m))
    points: tuple[Array, ...] = (v, u[1::m, ...])
    if m > 2:
        with meter.stage("F-relaxation", level, first):
            counts = place_counts(u.shape[0], m)
            points = f_relaxation(meter, v, counts, rhs, first, level, known=points[1])
        depth = after_relaxation(depth, meter.batches)
    points = tuple(compact(rows) for rows in points)
    finer = pieces[0].finer if len(pieces) == 1 else None
    return Block(level, first, points, rhs, depth, records + tuple(meter.records), finer=finer)


def correct(phi: Phi, block: Block | Uncorrected, coarse: Block | Part, cycle: int, records: bool = True) -> Block:
    """Correct the C-points, then F-relaxation; `records` tells whether to pass the coarse levels' records on."""
    meter, counts = Meter(phi, cycle), block.counts
    if isinstance(block, Uncorrected):
        block = block.block
    span = block.first, block.first + block.points[0].shape[0]
    with meter.stage("correction", block.level, block.first):
        places = coarse.by_place(*span)
        c_points = fas.correction(block.points[0], places, transfer_of(phi, block.level), block.level)
    depth, carried = np.maximum(block.depth, coarse.depths(*span)), coarse.records if records else ()
    del places, coarse
    with meter.stage("F-relaxation", block.level, block.first):
        points = f_relaxation(meter, c_points, counts, block.rhs, block.first, block.level)
    records_now = block.records + carried + tuple(meter.records)
    return _moved(block, phi, points, after_relaxation(depth, meter.batches), records_now)


def injected(meter: Meter, coarse: Block | Part, level: int, first: int, count: int) -> Array:
    """Return a coarse level's states as `count` C-points of `level`."""
    rows = compact(coarse.rows(first, first + count))
    transfer = transfer_of(meter.phi, level)
    if transfer is not None:
        rows = transfer.interpolate(rows, level)
        if first == 0:
            # The initial value is not what is left of it after restriction.
            rows = namespace(rows).concat((start_of(meter.phi, level), rows[1:, ...]))
    return rows


def interpolate(phi: Phi, coarse: Block | Part, level: int, span: Span, records: bool = True) -> Block:
    """Inject a coarse initial guess to a chunk, then F-relaxation with g = 0."""
    meter = Meter(phi, 0)
    rows = injected(meter, coarse, level, span.first, len(span))
    with meter.stage("F-relaxation", level, span.first):
        states = f_relaxation(meter, rows, span.counts, None, span.first, level)
    carried = coarse.records if records else ()
    depth = after_relaxation(coarse.depths(span.first, span.last), meter.batches)
    return Block(level, span.first, states, None, depth, carried + tuple(meter.records))


def restore(phi: Phi, c_points: Array, span: Span, cycle: int, depth: int, report: bool) -> Block:
    """Make a chunk from its C-points after `cycle`, all of them with `depth` Phi behind them.

    The F-relaxation is the one that ended the cycle, so it gives the same bits. With `report` the block reports on it.
    """
    meter = Meter(phi, cycle)
    with meter.stage("F-relaxation", 0, span.first):
        states = f_relaxation(meter, c_points, span.counts, None, span.first, 0)
    chain, records = after_relaxation(np.full(len(span), depth), meter.batches), tuple(meter.records)
    settled = ResidualReport(norms.Squares(np.zeros(0)), int(chain.max()), records) if report else None
    return Block(0, span.first, states, None, chain, () if report else records, settled=settled)


def take(coarse: Block, lo: int, hi: int, records: bool) -> Part:
    """Cut the points ``lo … hi-1`` out of a coarse level, to be sent to another worker."""
    values = compact(coarse.rows(lo, hi))
    return Part(lo, values, coarse.depths(lo, hi), coarse.records if records else ())


def regroup(blocks: Sequence[Block], lo: int, hi: int) -> Block:
    """Join F-intervals ``lo … hi-1`` from the chunks that hold them."""

    def cut(rows: Array, block: Block) -> Array:
        end = min(hi - block.first, rows.shape[0])
        return rows[min(max(lo - block.first, 0), end) : end, ...]

    pieces = [tuple(cut(rows, block) for rows in block.points) for block in blocks]
    xp = namespace(pieces[0][0])
    points = tuple(xp.concat(rows) for rows in zip(*pieces, strict=True))
    ready = [cut(block.arrived, block) for block in blocks if block.arrived is not None]
    arrived = xp.concat(ready) if len(ready) == len(blocks) else None
    depth = np.concatenate([cut(block.depth, block) for block in blocks])
    depths = [cut(block.arrival_depth, block) for block in blocks if block.arrival_depth is not None]
    return replace(
        blocks[0],
        first=lo,
        points=points,
        rhs=None,
        depth=depth,
        records=(),
        arrived=arrived,
        arrival_depth=None if arrived is None else np.concatenate(depths),
        settled=None,
    )


def report(blocks: Sequence[Block | RestrictedChunk]) -> ResidualReport:
    """Join the reports of several chunks, in their order."""
    return join([block.settled for block in blocks if block.settled is not None])


def join(settled: Sequence[ResidualReport]) -> ResidualReport:
    """Join reports, in their order."""
    return ResidualReport(
        norms.join([part.norms for part in settled]),
        max(part.depth for part in settled),
        tuple(record for part in settled for record in part.records),
    )


def coarse_solve(
    phi: Phi, pieces: Sequence[RestrictedChunk], steps: Sequence[CoarseStep], level: int, cycle: int
) -> Block:
    """Solve the coarsest level serially."""
    u, _, stepped, depth, records = _assemble(pieces, steps)
    (rhs,) = fas.coarse_rhs(u, stepped)
    meter = Meter(phi, cycle)
    with meter.stage("coarse solve", level, 0):
        w = fas.serial_solve(meter, u, rhs, level)
    # One task: no point is there before all are.
    chain = np.full(w.shape[0], depth.max() + len(meter.batches))
    return Block(level, 0, (w,), None, chain, records + tuple(meter.records))
