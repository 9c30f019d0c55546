"""The state of level 0 as the dask array that a user sees."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from daskmgrit.backend import to_host
from daskmgrit.block import Block
from daskmgrit.executor import ClusterExecutor, LocalExecutor
from daskmgrit.graph import chunk_points
from daskmgrit.hierarchy import Hierarchy
from daskmgrit.layout import Layout
from daskmgrit.sealed import load
from daskmgrit.taskbook import TaskBook

__all__ = ["as_array", "last_row"]


def as_array(state: Sequence[Delayed], layout: Layout, hierarchy: Hierarchy, like: np.ndarray, name: str) -> da.Array:
    """Return the state as an (N+1, s) dask array, a chunk of rows per block; `like` is a state."""
    size, bounds = hierarchy[0], layout.bounds(hierarchy)
    lengths = tuple(chunk_points(size.coarsening, size.steps, bounds, j)[1] for j in range(len(state)))
    rows = load(_rows)
    layer: dict[Any, Any] = {(name, j, 0): (operator.call, rows, block.key) for j, block in enumerate(state)}
    layers: dict[str, Any] = {name: layer}
    for block in state:
        layers.update(block.dask.layers)
    dependencies = {key: set[str]() for key in layers}
    dependencies[name] = set(layers) - {name}
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks=(lengths, (like.size,)), dtype=like.dtype)


def last_row(
    state: Sequence[Delayed], layout: Layout, executor: LocalExecutor | ClusterExecutor, run: str
) -> np.ndarray:
    """Fetch the state after the last step."""
    book = TaskBook(executor.workers)
    owner = layout.levels[0].owners[-1] if layout.levels else 0
    task = book.add(f"final.L0-{run}", _last, state[-1], owner=owner)
    return np.array(executor.fetch(executor.submit(book, [task])[0], "the final weights"))


def _rows(block: Block) -> np.ndarray:
    return to_host(block.rows())


def _last(block: Block) -> np.ndarray:
    last = block.first * len(block.points) + sum(block.counts)
    return to_host(block.rows(last - 1, last))[0]
