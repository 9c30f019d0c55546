"""The state of level 0 as a dask array for the user."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import dask.array as da
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from daskmgrit.graph import tasks
from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.graph.pickled_tasks import load
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.state import InitialState

__all__ = ["as_array", "stacked"]


def as_array(
    state: Sequence[Delayed],
    layout: ChunkLayout,
    hierarchy: Hierarchy,
    w0: InitialState,
    name: str,
    phi_task: Delayed | None = None,
) -> da.Array:
    """Return the state as an (N+1, s) dask array, a chunk of rows per block

    `phi_task` stands for phi, which makes the F-points that the blocks do not hold when they are needed.
    """
    lengths = tuple(span.points for span in hierarchy[0].spans(layout.bounds(hierarchy)))
    needed = [] if phi_task is None else [phi_task]
    rows, others = load(tasks.weights), [task.key for task in needed]
    layer: dict[Any, Any] = {(name, j, 0): (operator.call, rows, block.key, *others) for j, block in enumerate(state)}
    layers: dict[str, Any] = {name: layer}
    dependencies: dict[str, set[str]] = {}
    for task in (*state, *needed):
        layers.update(task.dask.layers)
        dependencies.update(task.dask.dependencies)
    dependencies[name] = set(layers) - {name}
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks=(lengths, (w0.size,)), dtype=w0.dtype)


def stacked(pieces: Sequence[tuple[Delayed, int]], w0: InitialState, name: str) -> da.Array:
    """Return arrays of successive states as one dask array, a chunk of rows for each.

    Parameters
    ----------
    pieces : sequence of (Delayed, int)
        Each with its number of rows.
    w0 : InitialState
        A state.
    name : str
        Name of the array.
    """
    layer: dict[Any, Any] = {(name, j, 0): piece.key for j, (piece, _) in enumerate(pieces)}
    layers: dict[str, Any] = {name: layer}
    dependencies: dict[str, set[str]] = {}
    for piece, _ in pieces:
        layers.update(piece.dask.layers)
        dependencies.update(piece.dask.dependencies)
    dependencies[name] = set(layers) - {name}
    lengths = tuple(rows for _, rows in pieces)
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks=(lengths, (w0.size,)), dtype=w0.dtype)
