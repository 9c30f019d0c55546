"""Relaxation of a chunk together with its ghost, the last F-interval of the chunk to the left.

The restriction after it then needs nothing of the neighbour, so that one task can relax and restrict a chunk.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from daskmgrit.multigrid import chunk_kernels
from daskmgrit.multigrid.arrival import arrival
from daskmgrit.multigrid.block import Block, Edge, Ghost, ResidualReport
from daskmgrit.multigrid.depth import after_deferred, after_first
from daskmgrit.multigrid.relaxation import c_relaxation, f_relaxation
from daskmgrit.recurrence import norms
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi, stages_of
from daskmgrit.utils.array_api import namespace

__all__ = ["relax"]


def relax(
    phi: Phi, block: Block, left: Block | Ghost | None, weight: float, cycle: int, settles: bool
) -> tuple[Block, Edge | None]:
    """One C-relaxation and one F-relaxation of a chunk and its ghost, in the same batches.

    Parameters
    ----------
    phi : callable
        The propagator.
    block : Block
        The chunk.
    left : Block, Ghost or None
        The chunk to the left of it; None for the first.
    weight : float
        Weight of the C-relaxation.
    cycle : int
        Number of the cycle.
    settles : bool
        Whether the C-relaxation settles the residual of the cycle before.

    Returns
    -------
    Block
        The relaxed chunk.
    Edge or None
        The edge of the relaxed chunk to the left.
    """
    if left is None:
        kernel = chunk_kernels.settle_and_relax if settles else chunk_kernels.relax
        return kernel(phi, block, None, weight, cycle), None
    ghost = left if isinstance(left, Ghost) else left.ghost(weight)
    concat, c_points = namespace(block.points[0]).concat, block.points[0]
    rhs = None
    if block.rhs is not None and ghost.rhs is not None:
        rhs = tuple(map(concat, zip(ghost.rhs, block.rhs, strict=True)))
    meter, records, settled = Meter(phi, cycle - settles), block.records, None
    if block.arrived is None:
        arrived, depth = arrival(meter, replace(block, rhs=rhs), ghost, "C-relaxation")
    else:
        arrived = concat((ghost.arrived, block.arrived))
        depth = np.concatenate([one.arrival_depth for one in (ghost, block) if one.arrival_depth is not None])
    records += tuple(meter.records)
    if settles:
        squares = norms.row_squares(arrived[1:, ...], c_points)
        settled, records = ResidualReport(squares, int(depth[1:].max()), records), ()
    if weight != 1.0:
        arrived = c_relaxation(concat((ghost.last_c[-1:, ...], c_points)), arrived, weight)
    meter = Meter(phi, cycle)
    with meter.stage("F-relaxation", block.level, block.first):
        counts = [rows + 1 for rows in block.counts]
        points = f_relaxation(meter, arrived, counts, rhs, block.first - 1, block.level)
    depth = after_first(depth, meter.batches)
    depth = after_deferred(depth, [rows + 1 for rows in block.deferred], stages_of(phi, block.level))
    relaxed = replace(
        block,
        points=tuple(rows[1:, ...] for rows in points),
        depth=depth[1:],
        records=records + tuple(meter.records),
        arrived=None,
        arrival_depth=None,
        settled=settled,
    )
    return relaxed, Edge(points[-1][:1, ...], points[0][:1, ...], int(depth[0]))
