"""Graphs that a scheduler can handle without importing this package or phi.

Dask's scheduler unpickles every graph that it is sent, so it needs each module that a function or an argument comes
from. Here those travel as bytes, which only the worker that runs the task unpickles: the scheduler needs neither this
package nor the modules of phi, and it never holds phi or the data as objects.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import cloudpickle
from dask._task_spec import GraphNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

__all__ = ["load", "seal", "sealed_value"]

# What every unpickler knows.
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_PACKAGE = __name__.partition(".")[0] + "."


@cache
def load(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return a task, in the form that may stand within another, whose result is a function of this package.

    Examples
    --------
    >>> unpickle, pickled = load(sealed_value)
    >>> unpickle(pickled) is sealed_value
    True
    """
    return pickle.loads, pickle.dumps(function)


def sealed_value(key: Any, value: Any, loads: TaskRef | None = None) -> Task:
    """Return a task whose result is the value; `loads` may stand for a task whose result unpickles it."""
    pickled = bytes(cloudpickle.dumps(value))
    return Task(key, pickle.loads, pickled) if loads is None else Task(key, operator.call, loads, pickled)


def _sealed(node: Any) -> Any:
    """Return the task with its function and arguments as bytes; what is not a task of this package, as it is."""
    if type(node) is not Task or not getattr(node.func, "__module__", "").startswith(_PACKAGE):
        return node
    arguments = [
        value if isinstance(value, (GraphNode, TaskRef, *_PLAIN)) else sealed_value(None, value) for value in node.args
    ]
    return Task(node.key, operator.call, Task(None, *load(node.func)), *arguments)


def seal(graph: HighLevelGraph) -> HighLevelGraph:
    """Return the graph with this package's functions, and what they are given, as bytes."""
    layers = {}
    for name, layer in graph.layers.items():
        if isinstance(layer, MaterializedLayer):
            mapping = {key: _sealed(node) for key, node in layer.items()}
            layer = MaterializedLayer(mapping, layer.annotations, layer.collection_annotations)
        layers[name] = layer
    return HighLevelGraph(layers, graph.dependencies)
