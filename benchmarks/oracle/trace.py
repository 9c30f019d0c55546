"""The tasks of a solve, found by running it on states of one number with a Phi that only counts.

The iteration, the graph and the stages are those of the package, so a trace has every task of a solve with its
dependencies, its planned worker, its calls of Phi and the rows of its result, and the order in which the client submits
and waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed
from dask.local import get_sync
from dask.order import order
from dask.task_spec import Task as GraphTask
from dask.task_spec import TaskRef

from daskmgrit.executors.executor import Executor
from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.graph.block_store import BlockStore
from daskmgrit.graph.builder import GraphContext
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid.block import ResidualReport
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.cost import PhiCost
from daskmgrit.solver.initial_guess import Guess
from daskmgrit.solver.iteration import Iteration
from daskmgrit.utils.array_api import Array

__all__ = ["Submitted", "Task", "Trace", "Waited", "trace"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the graph.

    Attributes
    ----------
    key : str
        Its key.
    needs : tuple of str
        Tasks whose results it takes.
    owner : int
        Number of the worker that it is planned on.
    calls : tuple of (int, int)
        Level and states of each of its calls of Phi, in their order.
    rows : int
        States in its result.
    rank : tuple of int
        Its place in the queue of its worker.
    """

    key: str
    needs: tuple[str, ...]
    owner: int
    calls: tuple[tuple[int, int], ...]
    rows: int
    rank: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The client submits tasks in one graph."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Waited:
    """The client waits for a result; `cycle` is the one whose residual it is."""

    key: str
    cycle: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The client's actions in a solve, and its choice of chunks."""

    events: tuple[Submitted | Waited, ...]
    plan: ChunkPlan

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in the order of their submission."""
        return [task for event in self.events if isinstance(event, Submitted) for task in event.tasks]


class _CountingPhi:
    """Returns zeros, and records its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        self.calls.append((level, len(weights)))
        return np.zeros_like(weights)


class _Watch(Callback):
    """Attributes calls of Phi to tasks."""

    def __init__(self, phi: _CountingPhi) -> None:
        super().__init__(pretask=self._before, posttask=self._after)
        self.phi = phi
        self.calls: dict[str, tuple[tuple[int, int], ...]] = {}
        self.rows: dict[str, int] = {}

    def _before(self, key: Any, graph: Any, state: Any) -> None:
        self.phi.calls = []

    def _after(self, key: Any, value: Any, graph: Any, state: Any, worker: Any) -> None:
        self.calls[key], self.rows[key] = tuple(self.phi.calls), _rows(value)


def _rows(value: Any) -> int:
    """Count the states in a task's result."""
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim == 2 else 0
    if isinstance(value, tuple | list):
        return sum(map(_rows, value))
    names = ("points", "rhs", "arrived", "u", "v", "values")
    return sum(_rows(getattr(value, name, None)) for name in names) if hasattr(value, "depth") else 0


class _Recorder:
    """An executor that runs tasks at once and records its calls."""

    name = "distributed"
    ahead = True
    in_memory = True
    patience = math.inf
    client: Any = None

    def __init__(self, threads: Sequence[int], phi: _CountingPhi, cost: PhiCost, hosts: int) -> None:
        self.threads, self.phi, self.cost, self.hosts = list(threads), phi, cost, hosts
        self.workers: list[str] | None = [str(number) for number in range(len(threads))]
        self.events: list[Submitted | Waited] = []
        self.cycle = 0

    def check(self, phi: Any) -> None:
        """Check nothing: nothing is sent."""

    def ask_workers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Return no answers: there are no other processes."""
        return {}

    def session(self) -> AbstractContextManager[None]:
        """Return an empty context: tasks run in any."""
        return nullcontext()

    def store(self, held: int) -> BlockStore | None:
        """Return None: blocks are small, and stay in memory."""
        return None

    def keep(self, array: Any) -> Any:
        """Return the array as it is: its chunks are in this process."""
        return array

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Return the value as a task that is not traced."""
        return delayed(value, name=key, traverse=False)

    def share(self, phi: Any, key: str, owner: Any) -> Delayed:
        """Return the propagator as a task that is not traced."""
        return self.put(phi, key)

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Run the tasks and record them."""
        graph = book.graph()
        keys = list(graph.layers)
        watch = _Watch(self.phi)
        with watch:
            values = dict(zip(keys, get_sync(dict(graph), keys), strict=True))
        # Results of earlier graphs are data here, not tasks.
        added = [key for key in keys if key in watch.calls]
        known = {task.key for event in self.events if isinstance(event, Submitted) for task in event.tasks} | set(added)
        flat = dict(graph)
        ranks = _ranks(flat)
        notes = {key: graph.layers[key].annotations or {} for key in added}
        tasks = tuple(
            Task(
                key,
                tuple(name for name in sorted(flat[key].dependencies) if name in known),
                int(notes[key]["workers"][0]),
                watch.calls[key],
                watch.rows[key],
                (-notes[key].get("priority", 0), len(self.events), ranks[key]),
            )
            for key in added
        )
        self.events.append(Submitted(tasks))
        return [self.put(values[task.key], task.key) for task in wanted]

    def fetch(self, handle: Delayed, what: str, again: bool = False, usual: float = math.inf) -> Any:
        """Return a result; a residual report has the seconds that Phi would have taken."""
        settled = get_sync(dict(handle.dask), handle.key)
        if not isinstance(settled, ResidualReport):
            return settled
        self.events.append(Waited(handle.key, self.cycle))
        self.cycle += 1
        # From these records the iteration finds what Phi costs.
        records = [
            record._replace(
                phi_seconds=self.cost.of_level(record.level)
                * (record.calls * self.cost.call + record.evaluations * self.cost.state)
            )
            for record in settled.records
        ]
        return settled._replace(records=tuple(records))


def _ranks(flat: dict[Any, Any]) -> dict[Any, int]:
    """Return the order that Dask gives to tasks, by numbers in place of keys: ties go by the hash of a key.

    With the hashes of strings, which differ from one run of Python to the next, the time of a cycle varied by 8 %.
    """
    numbers = {key: number for number, key in enumerate(flat)}
    alike: dict[Any, Any] = {
        numbers[key]: GraphTask(None, max, *[TaskRef(numbers[name]) for name in sorted(task.dependencies)])
        for key, task in flat.items()
    }
    ranks = order(alike)
    return {key: ranks[number] for key, number in numbers.items()}


def trace(
    hierarchy: Hierarchy,
    threads: Sequence[int],
    cost: PhiCost,
    chunks: int | None = None,
    cycles: int = 3,
    row_bytes: int = 0,
    guess: str = "zero",
    storage: str = "full",
    hosts: int = 1,
) -> Trace:
    """Trace a solve.

    Parameters
    ----------
    hierarchy : Hierarchy
        The levels.
    threads : sequence of int
        Threads of each worker.
    cost : PhiCost
        From it the solve chooses its layout.
    chunks : int, optional
        Chunks of level 0; by default the solve chooses.
    cycles : int
        Number of cycles.
    row_bytes : int
        Bytes of a state.
    guess, storage : str
        As in :meth:`daskmgrit.MGRIT.solve`.
    hosts : int
        Machines that the workers are on.
    """
    phi = _CountingPhi()
    recorder = _Recorder(threads, phi, cost, hosts)
    executor: Executor = recorder
    context = GraphContext(
        hierarchy, executor.put(phi, "phi"), executor.put(np.zeros(1), "w0"), "plan", storage == "c-points"
    )
    iteration = Iteration(context, row_bytes, executor)
    iteration.solve(Guess(guess), chunks, 0.0, cycles, lambda cycle, residual, state: "")
    return Trace(tuple(recorder.events), iteration.plan)
