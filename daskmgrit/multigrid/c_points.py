"""A block of level 0 that holds its C-points only (``storage="c-points"``).

The F-relaxation that ends a stage is deferred to the stage that needs its last F-points, which also includes the
C-point left of the block in its batch. So no Phi is done twice, one row instead of two comes from the left neighbour,
and the F-points of a block never exist all at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskmgrit.multigrid.block import Block, Edge
from daskmgrit.multigrid.depth import after_arrival
from daskmgrit.multigrid.intervals import Span
from daskmgrit.recurrence.meter import Meter
from daskmgrit.utils.array_api import Array, copy_of, namespace

__all__ = ["CPoints", "arrive_from_c"]


@dataclass(frozen=True, slots=True)
class CPoints(Block):
    """The C-points of the F-intervals ``first …`` of level 0: ``points`` holds them alone.

    Attributes
    ----------
    m : int
        The level's coarsening factor.
    steps : int
        N, which decides the length of the last F-interval.
    """

    m: int = 0
    steps: int = 0

    @property
    def places(self) -> tuple[int, ...]:
        """Rows of the whole block at each place of the F-interval."""
        return tuple(Span(self.first, self.first + self.points[0].shape[0], self.m, self.steps).counts)

    @property
    def deferred(self) -> tuple[int, ...]:
        """Rows of each step of the F-relaxation that ends a stage."""
        return tuple(count for count in self.places[1:] if count)

    def edge(self) -> Edge:
        """Return the last C-point, which the block to the right needs."""
        last = copy_of(self.points[0][-1:, ...])
        return Edge(last[:0, ...], last, int(self.depth[-1]))


def arrive_from_c(meter: Meter, block: CPoints, edge: Edge | None, kind: str) -> tuple[Array, Array]:
    """Return ``Phi`` at the C-points, all the way from the C-points before them, and the depth behind each."""
    c, m, first, level = block.points[0], block.m, block.first, block.level
    xp, count = namespace(c), c.shape[0]
    if edge is None:
        state, source = c[:-1, ...], np.arange(first, first + count - 1) * m
    else:
        state, source = xp.concat((edge.last_c, c[:-1, ...])), np.arange(first - 1, first + count - 1) * m
    # The depth of the block counts these calls already, as if it had been done at once.
    with meter.stage("F-relaxation", level, first):
        for j in range(m - 1):
            state = meter(state, source + j, level)
    with meter.stage(kind, level, first):
        state = meter(state, source + (m - 1), level)
    depth = after_arrival(block.depth, edge.depth if edge else None, len(meter.batches))
    return (xp.concat((c[:1, ...], state)) if edge is None else state), depth
