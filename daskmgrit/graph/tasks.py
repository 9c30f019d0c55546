"""Functions of the graph's tasks that run more or less than one stage; divergence passes from task to task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from daskmgrit.errors import Diverged
from daskmgrit.graph.block_store import by_handle, load
from daskmgrit.multigrid import chunk_kernels, ghost_kernels, whole_levels
from daskmgrit.multigrid.block import Block, Ghost, Keep, ResidualReport
from daskmgrit.multigrid.c_point_kernels import all_rows
from daskmgrit.multigrid.c_points import CPoints
from daskmgrit.multigrid.chunk_kernels import CoarseStep, RestrictedChunk
from daskmgrit.recurrence.meter import Meter, Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, to_host
from daskmgrit.utils.malloc import reuse_blocks

__all__ = [
    "attempt",
    "correct",
    "edge",
    "enter_pairs",
    "final",
    "ghost",
    "pieces",
    "relax_and_enter",
    "relax_and_restrict",
    "report",
    "restrict_and_enter",
    "restrict_and_step",
    "solve_pairs",
    "weights",
]


def attempt(function: Any, *args: Any) -> Any:
    """Run a stage. Divergence is an outcome that tasks pass on, not an error that a worker logs with a traceback."""
    reuse_blocks()
    if (found := _diverged(args)) is not None:
        return found
    try:
        return function(*args)
    except Diverged as error:
        # A new one: this one's traceback holds the arrays of the stage.
        return Diverged(*error.args)


def _diverged(values: Any) -> Diverged | None:
    """Find a divergence among the inputs of a task, which come singly and in lists."""
    for value in values:
        found = _diverged(value) if type(value) is list else value
        if isinstance(found, Diverged):
            return found
    return None


@by_handle
def edge(block: Any) -> Any:
    """Cut out the rows that the block to the right needs."""
    return block.edge()


def ghost(block: Block, weight: float) -> Ghost:
    """Cut out the rows from which the block to the right can relax this one's last F-interval itself."""
    return block.ghost(weight)


@by_handle
def report(results: Sequence[Block | Restricted]) -> ResidualReport:
    """Join the residual reports of several chunks."""
    return chunk_kernels.report([result[0] if isinstance(result, Restricted) else result for result in results])


class Restricted(NamedTuple):
    """A restricted chunk, and its ``Phi_c(v)``."""

    piece: RestrictedChunk
    step: CoarseStep


def restrict_and_step(phi: Any, block: Any, left: Any, m: int, cycle: int, keep: Keep | None = None) -> Restricted:
    """Restrict a chunk, and compute its ``Phi_c(v)``."""
    piece = chunk_kernels.restrict(phi, block, left, m, cycle, keep)
    return Restricted(piece, chunk_kernels.coarse_step(phi, block, left, cycle))


def relax_and_restrict(
    phi: Any, block: Any, left: Any, weight: float, cycle: int, settles: bool, m: int, keep: Keep
) -> Restricted:
    """Relax a chunk and its ghost, then restrict the chunk; the result also holds what its correction needs."""
    return Restricted(*ghost_kernels.relax_and_restrict(phi, block, left, weight, cycle, settles, m, keep))


def pieces(restricted: Sequence[Restricted]) -> list[Restricted]:
    """Cut out what the coarse level needs of several chunks."""
    return [Restricted(replace(piece, finer=None, settled=None), step) for piece, step in restricted]


def _flatten(pairs: Any) -> tuple[list[Any], list[Any]]:
    """Split lists of chunks, restricted and stepped in one task, or of one chunk for which two tasks did that."""
    flat: list[Any] = []
    for each in pairs:
        flat += pieces(each) if isinstance(each[0], Restricted) else [each]
    return [piece for piece, _ in flat], [step for _, step in flat]


def enter_pairs(phi: Any, pairs: Any, level: int, m: int, cycle: int) -> Any:
    """Make a coarse chunk of several finer ones."""
    return chunk_kernels.enter(phi, *_flatten(pairs), level, m, cycle)


def restrict_and_enter(phi: Any, block: Any, left: Any, level: int, m: int, cycle: int, keep: Keep | None) -> Any:
    """Make a coarse chunk of one finer chunk; it holds what that needs for its correction."""
    return _enter_one(phi, [*restrict_and_step(phi, block, left, m, cycle, keep)], level, m, cycle)


def relax_and_enter(
    phi: Any, block: Any, left: Any, weight: float, cycle: int, settles: bool, m: int, keep: Keep, level: int
) -> Any:
    """Relax a chunk and its ghost, then make a coarse chunk of the chunk."""
    parts: list[Any] = [*relax_and_restrict(phi, block, left, weight, cycle, settles, m, keep)]
    settled = parts[0].settled
    return replace(_enter_one(phi, parts, level, m, cycle), settled=settled)


def _enter_one(phi: Any, parts: list[Any], level: int, m: int, cycle: int) -> Block:
    """Make a coarse chunk of a restricted chunk and its coarse step, the last reference to which is passed on."""
    step = [parts.pop()]
    return chunk_kernels.enter(phi, parts, step, level, m, cycle)


def correct(phi: Any, block: Any, coarse: Any, cycle: int, records: bool, level: int) -> Any:
    """Correct a chunk, and those of finer levels that its block holds, up to `level`."""
    if isinstance(block, Restricted):
        block = block.piece.finer
    # Of a level between nothing is held while the F-points of the next are made.
    corrected = [chunk_kernels.correct(phi, block, coarse, cycle, records)]
    while corrected[0].level > level:
        finer = corrected[0].finer
        assert finer is not None
        corrected.append(chunk_kernels.correct(phi, finer, corrected.pop(), cycle))
    return corrected.pop()


def solve_pairs(phi: Any, pairs: Any, hierarchy: Any, level: int, kind: str, cycle: int) -> Any:
    """Run the rest of a cycle on all of a level."""
    return whole_levels.solve_from(phi, *_flatten(pairs), hierarchy, level, kind, cycle)


def weights(block: Any, phi: Phi | None = None) -> Array:
    """Return all points of a chunk of level 0; an F-relaxation makes the F-points that are not held."""
    block = load(block)
    return all_rows(phi, block) if phi is not None and isinstance(block, CPoints) else to_host(block.rows())


def final(block: Any, phi: Phi | None = None) -> tuple[Array, tuple[Record, ...]]:
    """Return the last point of a chunk, and the records of its work."""
    block = load(block)
    if phi is None or not isinstance(block, CPoints):
        _, last = block.point_range
        return to_host(block.rows(last - 1, last))[0], ()
    meter, n = Meter(phi, 0), block.points[0].shape[0] - 1
    last = replace(block, first=block.first + n, points=(block.points[0][n:, ...],), depth=block.depth[n:])
    with meter.stage("F-relaxation", 0, last.first):
        row = all_rows(meter, last)[-1]
    return row, tuple(meter.records)
