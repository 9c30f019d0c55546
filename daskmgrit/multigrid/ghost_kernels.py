"""Relaxation and restriction of a chunk in one go, with its ghost: the last F-interval of the chunk to the left.

The residual at the first C-point of a chunk needs the relaxed ghost. The chunk relaxes that itself, in its own batches,
instead of waiting for the neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from daskmgrit.multigrid import chunk_kernels
from daskmgrit.multigrid.block import Block, Ghost, Keep, ResidualReport
from daskmgrit.multigrid.chunk_kernels import CoarseStep, RestrictedChunk
from daskmgrit.multigrid.depth import after_arrival, after_relaxation
from daskmgrit.multigrid.relaxation import arrivals, c_relaxation, f_relaxation
from daskmgrit.recurrence import norms
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, namespace

__all__ = ["relax", "relax_and_restrict"]


class _Joined(Sequence[Array]):
    """Right-hand sides of a ghost and its chunk by place; no more than one place is copied at a time."""

    def __init__(self, concat: Callable[..., Array], ghost: tuple[Array, ...], chunk: tuple[Array, ...]) -> None:
        self._concat, self._pairs = concat, list(zip(ghost, chunk, strict=True))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, place: int) -> Array:  # type: ignore[override]
        return self._concat(self._pairs[place])


def relax(phi: Phi, block: Block, ghost: Ghost, weight: float, cycle: int, settles: bool) -> Block:
    """One C-relaxation and one F-relaxation of a chunk and its ghost, in the same batches.

    Parameters
    ----------
    phi : callable
        The propagator.
    block : Block
        The chunk; it holds its F-points.
    ghost : Ghost
        The end of the chunk to the left.
    weight : float
        Weight of the C-relaxation.
    cycle : int
        Number of the cycle.
    settles : bool
        Whether the C-relaxation settles the residual of the cycle before.

    Returns
    -------
    Block
        Ghost and chunk, relaxed. Its right-hand sides are those of the chunk alone.
    """
    concat, c_points, first, level = namespace(block.points[0]).concat, block.points[0], block.first, block.level
    rhs = None
    if block.rhs is not None and ghost.rhs is not None:
        rhs = _Joined(concat, ghost.rhs, block.rhs)
    meter, records, settled = Meter(phi, cycle - settles), block.records, None
    if block.arrived is None:
        with meter.stage("C-relaxation", level, first):
            arrived = arrivals(meter, block.points, rhs, ghost.last_f, first, level)
        before = np.concatenate((ghost.depth[1:], block.depth))
        depth = after_arrival(before, int(ghost.depth[0]), len(meter.batches))
    else:
        arrived = concat((ghost.arrived, block.arrived))
        depth = np.concatenate([one.arrival_depth for one in (ghost, block) if one.arrival_depth is not None])
    records += tuple(meter.records)
    if settles:
        squares = norms.row_squares(arrived[1:, ...], c_points)
        settled, records = ResidualReport(squares, int(depth[1:].max()), records), ()
    if weight != 1.0:
        arrived = c_relaxation(concat((ghost.last_c, c_points)), arrived, weight)
    meter = Meter(phi, cycle)
    with meter.stage("F-relaxation", level, first):
        points = f_relaxation(meter, arrived, [rows + 1 for rows in block.counts], rhs, first - 1, level)
    return replace(
        block,
        first=first - 1,
        points=points,
        depth=after_relaxation(depth, meter.batches),
        records=records + tuple(meter.records),
        arrived=None,
        arrival_depth=None,
        settled=settled,
    )


def relax_and_restrict(
    phi: Phi,
    block: Block,
    left: Block | Ghost | None,
    weight: float,
    cycle: int,
    settles: bool,
    m_coarse: int,
    keep: Keep,
) -> tuple[RestrictedChunk, CoarseStep]:
    """Relax a chunk and restrict it; the result also holds what its correction needs, and the report if it settles.

    `left` is the chunk to the left of it, None for the first; the rest is as in :func:`relax` and
    :func:`~daskmgrit.multigrid.chunk_kernels.restrict`.
    """
    if left is None:
        kernel = chunk_kernels.settle_and_relax if settles else chunk_kernels.relax
        relaxed = kernel(phi, block, None, weight, cycle)
        piece = chunk_kernels.restrict(phi, relaxed, None, m_coarse, cycle, keep)
        return replace(piece, settled=relaxed.settled), chunk_kernels.coarse_step(phi, relaxed, None, cycle)
    wide = relax(phi, block, left if isinstance(left, Ghost) else left.ghost(weight), weight, cycle, settles)
    meter = Meter(phi, cycle)
    with meter.stage("residual", block.level, block.first):
        # With the ghost as the first F-interval, which nothing arrives at.
        arrived = arrivals(meter, wide.points, wide.rhs, None, wide.first, block.level)
    depth = after_arrival(wide.depth, None, len(meter.batches))[1:]
    # Of no further use: F-points.
    wide = replace(wide, points=wide.points[:1])
    # The C-points are held already if they have arrived before.
    c_points = wide.points[0][1:, ...] if block.arrived is None or weight != 1.0 else block.arrived
    relaxed = replace(wide, first=block.first, points=(c_points,), depth=wide.depth[1:])
    piece = chunk_kernels.restricted_chunk(phi, relaxed, arrived, depth, tuple(meter.records), m_coarse)
    del arrived
    finer = relaxed.uncorrected(keep)._replace(counts=block.counts)
    step = chunk_kernels.coarse_step(phi, wide, None, cycle)
    records = tuple(record._replace(first=block.first) for record in step.records)
    return replace(piece, finer=finer, settled=wide.settled), replace(step, depth=step.depth[1:], records=records)
