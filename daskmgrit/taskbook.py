"""The tasks of one submission, as one graph with a planned worker for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import dask
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph

from daskmgrit.spill import Store, through

__all__ = ["TaskBook"]

_TASKS: dict[Callable[..., Any], Any] = {}


class TaskBook:
    """The tasks of one submission.

    Parameters
    ----------
    workers : sequence of str or None
        Address of each worker; None where the scheduler has no workers to choose from.
    store : Store, optional
        Where the tasks' results go.
    """

    def __init__(self, workers: Sequence[str] | None = None, store: Store | None = None) -> None:
        self.workers, self.store = workers, store
        self.layers: dict[str, Any] = {}
        self.dependencies: dict[str, set[str]] = {}
        self.tasks = 0

    def place(self, owner: int, urgent: bool = False) -> AbstractContextManager[Any]:
        """Return a context in which tasks are planned on a worker; another takes them if it is lost."""
        if not self.workers:
            return nullcontext()
        where = {"workers": [self.workers[owner % len(self.workers)]], "allow_other_workers": True}
        return dask.annotate(**where, **({"priority": 1} if urgent else {}))

    def add(self, key: str, function: Callable[..., Any], *args: Any, owner: int, urgent: bool = False) -> Delayed:
        """Add a task; returns a stand-in for its result that carries no graph but its own.

        An urgent task does not queue behind others on its worker. (Each ``Delayed`` otherwise holds all that came
        before it, which makes long graphs quadratic.)
        """
        if self.store is not None:
            function, args = through, (self.store, function, *args)
        task = _TASKS.get(function)
        if task is None:
            task = _TASKS[function] = delayed(function, pure=False, traverse=False)
        with self.place(owner, urgent):
            made = task(*args, dask_key_name=key)
        self.tasks += 1
        for name, layer in made.dask.layers.items():
            self.layers.setdefault(name, layer)
            self.dependencies.setdefault(name, made.dask.dependencies[name])
        return Delayed(key, HighLevelGraph({key: made.dask.layers[key]}, {key: set()}))

    def graph(self) -> HighLevelGraph:
        """Return all tasks as one graph."""
        known = {name: parents & self.layers.keys() for name, parents in self.dependencies.items()}
        return HighLevelGraph(self.layers, known)
