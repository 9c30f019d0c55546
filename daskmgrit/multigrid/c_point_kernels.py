"""The stages that only ``storage="c-points"`` has: initial guess, interpolation, F-points when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daskmgrit.multigrid.block import Block, Part, ResidualReport, place_counts
from daskmgrit.multigrid.c_points import CPoints
from daskmgrit.multigrid.chunk_kernels import after_first, after_last, injected
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import row_norms
from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.utils.array_api import Array, as_block, device, move_like, namespace, to_host

__all__ = ["all_rows", "initial", "initial_given", "interpolate"]


def _evaluate(
    phi: Phi, place: Callable[[int], Array], left: Array | None, first: int, points: int, m: int, steps: int
) -> CPoints:
    """Find the residual of a guess, one place of the F-interval after the other, and keep its C-points."""
    meter, counts = Meter(phi, 0), place_counts(points, m)
    norms = np.empty(points)
    source = np.arange(first, first + counts[0]) * m
    c_points = before = place(0)
    xp = namespace(c_points)
    with meter.stage("initial residual", 0, first):
        for j in range(1, m):
            rows = place(j)
            norms[j::m] = row_norms(meter(before[: counts[j], ...], source[: counts[j]] + (j - 1), 0), rows)
            before = rows
        fine = len(meter.batches)
        inner = before[: counts[0] - 1, ...]
        if left is None:
            arrived = xp.concat((c_points[:1, ...], meter(inner, source[1:] - 1, 0)))
        else:
            arrived = meter(xp.concat((left, inner)), source - 1, 0)
        norms[::m] = row_norms(arrived, c_points)
    depth = after_first(np.zeros(counts[0], int), meter.batches[:fine])
    depth = after_last(depth, meter.batches[fine:])
    settled = ResidualReport(norms, int(depth.max()), tuple(meter.records))
    return CPoints(0, first, (c_points,), None, depth, settled=settled, m=m, steps=steps)


def initial(phi: Phi, kind: str, w0: Array, first: int, points: int, m: int, steps: int) -> CPoints:
    """Make and evaluate a chunk of the guess "zero" or "constant"."""
    counts = place_counts(points, m)
    start = as_block(phi, w0)[None, ...]
    xp = namespace(start)

    def place(j: int) -> Array:
        if kind == "constant":
            return xp.tile(start, (counts[j], 1))
        rows = xp.zeros((counts[j], start.shape[1]), dtype=start.dtype, device=device(start))
        return xp.concat((start, rows[1:, ...])) if first == 0 and j == 0 else rows

    left = None if first == 0 else (start if kind == "constant" else xp.zeros_like(start))
    return _evaluate(phi, place, left, first, points, m, steps)


def initial_given(phi: Phi, rows: Array, w0: Array, first: int, m: int, steps: int) -> CPoints:
    """Evaluate a chunk of a guess that the user gave; `rows` begin with the point before the chunk, if there is one."""
    start = as_block(phi, w0)[None, ...]
    rows = np.asarray(rows, to_host(start).dtype)
    skip = int(first > 0)
    if not np.isfinite(rows[int(first == 0) :]).all():
        row = first * m - skip + int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise ValueError(f"initial_guess holds nan or inf, at or after row {row}: give finite weights")
    own = rows[skip:]

    def place(j: int) -> Array:
        part = move_like(np.array(own[j::m]), start)
        return namespace(start).concat((start, part[1:, ...])) if first == 0 and j == 0 else part

    return _evaluate(phi, place, move_like(rows[:1], start) if skip else None, first, len(own), m, steps)


def interpolate(
    phi: Phi, coarse: Block | Part, first: int, points: int, m: int, steps: int, records: bool = True
) -> CPoints:
    """Inject a coarse initial guess to the C-points of a chunk."""
    count = place_counts(points, m)[0]
    rows = injected(Meter(phi, 0), coarse, 0, first, count)
    carried = coarse.records if records else ()
    return CPoints(0, first, (rows,), None, coarse.depths(first, first + count), carried, m=m, steps=steps)


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
