"""The tasks of one submission, as one graph with a planned worker for each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import dask
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import List, Task, TaskRef

from daskmgrit.errors import ClusterError
from daskmgrit.graph.block_store import BlockStore, through
from daskmgrit.graph.pickled_tasks import load

__all__ = ["HeldLayer", "TaskBook", "held", "stand_in"]


class TaskBook:
    """The tasks of one submission.

    Parameters
    ----------
    workers : sequence of str or None
        Address of each worker; None where the scheduler has no workers to choose from.
    store : BlockStore, optional
        Where the tasks' results go.
    """

    def __init__(self, workers: Sequence[str] | None = None, store: BlockStore | None = None) -> None:
        self.workers, self.store = workers, store
        self.layers: dict[str, Any] = {}
        self.dependencies: dict[str, set[str]] = {}
        self.tasks = 0
        self._notes: dict[tuple[int, bool], dict[str, Any]] = {}

    def note(self, owner: int, urgent: bool = False) -> dict[str, Any] | None:
        """Plan a task on a worker; another takes it if that one is lost."""
        if not self.workers:
            return None
        case = owner % len(self.workers), urgent
        if case not in self._notes:
            self._notes[case] = self._note(self.workers[case[0]], urgent)
        return self._notes[case]

    def _note(self, worker: str, urgent: bool) -> dict[str, Any]:
        asked = dask.get_annotations()
        priority = asked.get("priority", 0)
        if urgent and not callable(priority):
            priority += 1
        if asked.get("workers") or asked.get("resources"):
            # To be allowed elsewhere, if a worker is lost, would be to be allowed where these do not hold.
            return asked | {"priority": priority}
        note = {"workers": [worker], "allow_other_workers": True}
        return asked | note | {"priority": priority}

    def add(self, key: str, function: Callable[..., Any], *args: Any, owner: int, urgent: bool = False) -> Delayed:
        """Add a task; return a stand-in for its result that carries only its own graph.

        An urgent task does not queue behind others on its worker.

        (Otherwise each ``Delayed`` holds all earlier tasks, which makes long graphs quadratic. And ``dask.delayed``
        searches every argument, also the hierarchy, for others and optimises those in lists: for small problems that
        took a fifth of a solve. Here they come singly or in lists.)
        """
        if self.store is not None:
            function, args = through, (self.store, function, *args)
        parents: set[str] = set()
        task = Task(key, function, *[self._refer(value, parents) for value in args])
        self.layers[key] = MaterializedLayer({key: task}, self.note(owner, urgent))
        self.dependencies[key] = parents
        self.tasks += 1
        return Delayed(key, HighLevelGraph({key: self.layers[key]}, {key: set()}))

    def _refer(self, value: Any, parents: set[str]) -> Any:
        """Return an argument's stand-in in a task, and add the graph that it comes with."""
        if isinstance(value, Delayed):
            # Most are of this book.
            if value.key in self.layers:
                parents.add(value.key)
            else:
                graph = value.dask
                for name, layer in graph.layers.items():
                    self.layers.setdefault(name, layer)
                    self.dependencies.setdefault(name, graph.dependencies[name])
                parents.update(value.__dask_layers__())
            return TaskRef(value.key)
        if type(value) is list:
            return List(*[self._refer(each, parents) for each in value])
        return value

    def by_key(self) -> dict[str, Any]:
        """Return all tasks by key: all that a scheduler of this process needs."""
        return {key: task for layer in self.layers.values() for key, task in layer.items()}

    def graph(self) -> HighLevelGraph:
        """Return all tasks as one graph."""
        known = {name: parents & self.layers.keys() for name, parents in self.dependencies.items()}
        return HighLevelGraph(self.layers, known)


class HeldLayer(MaterializedLayer):
    """Results that a cluster holds, by key. Once they are lost, Dask would miss them without giving the cause."""

    def __getitem__(self, key: Any) -> Any:
        node = self.mapping[key]
        if loss := _loss(node):
            _refuse(loss)
        return node

    def __reduce__(self) -> Any:
        # A scheduler may lack this package.
        sent = {
            key: Task(key, operator.call, Task(None, *load(_refuse)), loss) if (loss := _loss(node)) else node
            for key, node in self.mapping.items()
        }
        return MaterializedLayer, (sent, self.annotations)


def _loss(node: Any) -> str:
    """Return the cause of a future's loss, with the remedy; empty if the result is there, and for a value."""
    client = getattr(node, "client", None)
    if client is None:
        return ""
    if client.status in ("closing", "closed"):
        return "these weights are on a cluster whose client is closed: compute() them before closing"
    # Dask computes again a result that is "lost" with a worker.
    if node.status == "cancelled":
        return (
            "these weights are not on the cluster any more, because it was restarted or told to cancel them: compute() "
            "them earlier, or solve again"
        )
    return ""


def _refuse(loss: str) -> None:
    raise ClusterError(loss)


def stand_in(key: str, node: Any) -> Delayed:
    """Return the stand-in of a future, or of a value, in later graphs."""
    return Delayed(key, HighLevelGraph({key: HeldLayer({key: node})}, {key: set()}))


def held(handle: Delayed) -> Any:
    """Return the future, or the value, of a stand-in, whether it is lost or not."""
    return handle.dask.layers[handle.key].mapping[handle.key]
