"""The stages of ``storage="c-points"`` alone: initial guess, interpolation, F-points on request."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskmgrit.multigrid.block import Block, Part, ResidualReport
from daskmgrit.multigrid.c_points import CPoints
from daskmgrit.multigrid.chunk_kernels import injected
from daskmgrit.multigrid.depth import after_deferred
from daskmgrit.multigrid.guess import guess_residual, guess_rows
from daskmgrit.multigrid.intervals import Span
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi, apply_phi, stages_of
from daskmgrit.utils.array_api import Array, Origin, to_host

__all__ = ["all_rows", "evaluated_guess", "interpolate", "restore"]


def evaluated_guess(phi: Phi, values: Any, w0: Array | Origin, span: Span) -> CPoints:
    """Make a chunk of the initial guess, find its residual and keep its C-points.

    `values` are those of :func:`~daskmgrit.multigrid.guess.guess_rows`; given rows begin with the point before the
    chunk, if there is one.
    """
    meter, rows = Meter(phi, 0), guess_rows(phi, values, w0, span)
    c_points = rows.place(0)
    found = guess_residual(meter, c_points, rows.place, rows.before(), span.first, span.counts)
    settled = ResidualReport(found.norms, int(found.depth.max()), tuple(meter.records))
    return _begun(phi, c_points, span, found.depth, settled=settled)


def interpolate(phi: Phi, coarse: Block | Part, span: Span, records: bool = True) -> CPoints:
    """Inject a coarse initial guess to the C-points of a chunk."""
    rows = injected(Meter(phi, 0), coarse, 0, span.first, len(span))
    carried = coarse.records if records else ()
    depth = coarse.depths(span.first, span.last)
    return _begun(phi, rows, span, depth, carried)


def restore(phi: Phi, c_points: Array, span: Span, depth: int) -> CPoints:
    """Make a chunk from its C-points, all of them with `depth` Phi behind them."""
    return _begun(phi, c_points, span, np.full(len(span), depth))


def _begun(
    phi: Phi,
    c_points: Array,
    span: Span,
    depth: Array,
    records: tuple[Record, ...] = (),
    settled: ResidualReport | None = None,
) -> CPoints:
    """Return a chunk of C-points with a number of Phi behind them, and a deferred F-relaxation."""
    depth = after_deferred(depth, [count for count in span.counts[1:] if count], stages_of(phi, 0))
    return CPoints(0, span.first, (c_points,), None, depth, records, settled=settled, m=span.m, steps=span.steps)


def all_rows(phi: Phi, block: CPoints) -> Array:
    """Return all points of the block, in host memory: F-points by an F-relaxation."""
    counts, m = block.places, block.m
    state = block.points[0]
    source = np.arange(block.first, block.first + state.shape[0]) * m
    held = to_host(state)
    rows = np.empty((sum(counts), *held.shape[1:]), held.dtype)
    rows[::m] = held
    for j in range(1, m):
        if not counts[j]:
            break
        state = apply_phi(phi, state[: counts[j], ...], source[: counts[j]] + (j - 1), block.level)
        rows[j::m] = to_host(state)
    return rows
