"""Arrivals at the C-points of a chunk: the Phi of a C-relaxation and of a residual."""

from __future__ import annotations

from daskmgrit.multigrid.block import Block, Edge, Ghost
from daskmgrit.multigrid.c_points import CPoints, arrive_from_c
from daskmgrit.multigrid.depth import after_last, behind
from daskmgrit.multigrid.relaxation import arrivals
from daskmgrit.recurrence.meter import Meter
from daskmgrit.utils.array_api import Array

__all__ = ["arrival"]


def arrival(meter: Meter, block: Block, left: Edge | Ghost | None, kind: str) -> tuple[Array, Array]:
    """Return ``Phi + g`` at the C-points (computed now or before) and the depth behind each.

    The former may have no row for point 0, see :func:`~daskmgrit.multigrid.relaxation.with_start`. If they are not
    known yet and `left` is a ghost, both have a row more, for its C-point, as ``block.rhs[0]`` must have.
    """
    if block.arrived is not None and block.arrival_depth is not None:
        return block.arrived, block.arrival_depth
    if isinstance(block, CPoints):
        return arrive_from_c(meter, block, left, kind)
    last_f = left.last_f if left else None
    with meter.stage(kind, block.level, block.first):
        arrived = arrivals(meter, block.points, block.rhs, last_f, block.first, block.level)
    return arrived, after_last(behind(block.depth, left.depth if left else None), meter.batches)
