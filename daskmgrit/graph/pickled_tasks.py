"""Graphs that a scheduler can handle without importing this package or phi.

Dask's scheduler unpickles every graph that it receives, so it needs the modules of all functions and arguments. Here
those travel as bytes, which only the worker that runs the task unpickles. So the scheduler needs neither this package
nor the modules of phi, and it never holds phi or the data as objects.
"""

from __future__ import annotations

import operator
import pickle
from enum import Enum
from functools import cache, partial
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import GraphNode, Task, TaskRef

from daskmgrit.utils.collector import collector_paused
from daskmgrit.utils.pickling import Pickled

__all__ = ["large_value", "load", "seal", "sealed_value"]

# Functions that every unpickler knows, and the stand-in of a task.
_PLAIN = (bool, int, float, complex, str, bytes, type(None), GraphNode, TaskRef)
_PACKAGE = __name__.partition(".")[0] + "."


@cache
def load(value: Any) -> tuple[Any, ...]:
    """Return a task, in a form for use within another, whose result is a function or constant of this package.

    Examples
    --------
    >>> unpickle, pickled = load(sealed_value)
    >>> unpickle(pickled) is sealed_value
    True
    """
    return pickle.loads, pickle.dumps(value)


def sealed_value(key: Any, value: Any, loads: TaskRef | None = None) -> Task:
    """Return a task whose result is the value; `loads` may be a task whose result unpickles it."""
    pickled = bytes(cloudpickle.dumps(value))
    return Task(key, pickle.loads, pickled) if loads is None else Task(key, operator.call, loads, pickled)


def large_value(key: Any, pickled: Pickled, loads: TaskRef, copied: bool) -> Task:
    """Return a task whose result is the pickled object; `loads` is a task whose result unpickles it.

    Without copies, its arrays travel as they are and use the memory in which they arrive; this needs NumPy there.
    """
    buffers = [bytearray(buffer) if copied else np.frombuffer(buffer, np.uint8) for buffer in pickled.buffers]
    return Task(key, operator.call, loads, pickled.data, buffers=buffers)


@cache
def _named(value: Any) -> Task:
    """Return the task that loads a function or a constant of this package: one for all tasks that take it."""
    return Task(None, *load(value))


def _argument(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    # A function within another has no name to be found by.
    named = isinstance(value, Enum) or (isinstance(value, FunctionType) and "<" not in value.__qualname__)
    return _named(value) if named and value.__module__.startswith(_PACKAGE) else sealed_value(None, value)


def _sealed(node: Any) -> Any:
    """Return the task with its function and arguments as bytes; return anything but a task of this package as it is."""
    if type(node) is not Task or not getattr(node.func, "__module__", "").startswith(_PACKAGE):
        return node
    return Task(node.key, operator.call, _named(node.func), *map(_argument, node.args))


@collector_paused()
def seal(graph: HighLevelGraph) -> HighLevelGraph:
    """Return the graph with this package's functions and their arguments as bytes.

    Layers whose annotations are of the same kinds become one, because unpickling a layer for each task took the
    scheduler longer than the tasks.
    """
    mappings: dict[tuple[str, ...], dict[Any, Any]] = {}
    notes: dict[tuple[str, ...], dict[str, dict[Any, Any]]] = {}
    for layer in graph.layers.values():
        noted = layer.annotations or {}
        kinds = tuple(sorted(noted))
        mapping, kept = mappings.setdefault(kinds, {}), notes.setdefault(kinds, {kind: {} for kind in kinds})
        for key, node in layer.items():
            mapping[key] = _sealed(node)
            for kind, value in noted.items():
                kept[kind][key] = value(key) if callable(value) else value
    layers = {
        " ".join(("tasks", *kinds)): MaterializedLayer(
            mapping, {kind: _by_key(values) for kind, values in notes[kinds].items()}
        )
        for kinds, mapping in mappings.items()
    }
    # Only tasks have an order.
    return HighLevelGraph(layers, {name: set() for name in layers})


def _by_key(values: dict[Any, Any]) -> Any:
    """Return an annotation for all tasks of a layer: the common value, else a function of the key."""
    first = next(iter(values.values()))
    if all(value == first for value in values.values()):
        return first
    # A plain one, which the scheduler knows.
    return partial(operator.getitem, values)
