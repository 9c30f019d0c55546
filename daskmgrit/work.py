"""What a task of the graph runs where that is not one stage alone, and how divergence passes from task to task."""

from __future__ import annotations

from typing import Any

from daskmgrit import inline, stages
from daskmgrit.allocator import reuse_blocks
from daskmgrit.errors import Diverged
from daskmgrit.spill import by_handle

__all__ = ["attempt", "edge", "enter", "restrict", "restrict_and_enter", "solve"]


def attempt(function: Any, *args: Any) -> Any:
    """Run a stage. Divergence is an outcome that tasks hand on, not an error that a worker logs with a traceback."""
    reuse_blocks()
    if (found := _diverged(args)) is not None:
        return found
    try:
        return function(*args)
    except Diverged as error:
        # A new one: this one's traceback holds the arrays of the stage.
        return Diverged(error.level, error.step, error.cycle)


def _diverged(values: Any) -> Diverged | None:
    """Find a divergence among the inputs of a task, which come singly and in lists."""
    for value in values:
        found = _diverged(value) if type(value) is list else value
        if isinstance(found, Diverged):
            return found
    return None


@by_handle
def edge(block: Any) -> Any:
    """Cut out what the block to the right needs."""
    return block.edge()


def restrict(phi: Any, block: Any, left: Any, m: int, cycle: int) -> Any:
    """Restrict a chunk; its ``Phi_c(v)`` beside."""
    return stages.restrict(phi, block, left, m, cycle), stages.coarse_step(phi, block, left, cycle)


def _flatten(pairs: Any) -> tuple[list[Any], list[Any]]:
    """Split chunks' (restricted, coarse step), whether they came from one task or from two."""
    flat = [pair[0] if len(pair) == 1 else pair for pair in pairs]
    return [piece for piece, _ in flat], [step for _, step in flat]


def enter(phi: Any, pairs: Any, level: int, m: int, cycle: int) -> Any:
    """Make a coarse chunk of several finer ones."""
    return stages.enter(phi, *_flatten(pairs), level, m, cycle)


def restrict_and_enter(phi: Any, block: Any, left: Any, level: int, m: int, cycle: int) -> Any:
    """Make a coarse chunk of one finer chunk."""
    piece, step = restrict(phi, block, left, m, cycle)
    return stages.enter(phi, [piece], [step], level, m, cycle)


def solve(phi: Any, pairs: Any, hierarchy: Any, level: int, kind: str, cycle: int) -> Any:
    """Run the rest of a cycle on all of a level."""
    return inline.solve(phi, *_flatten(pairs), hierarchy, level, kind, cycle)
