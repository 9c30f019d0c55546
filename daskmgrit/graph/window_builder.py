"""The rounds of a parallel Newton solve as ``dask.delayed`` tasks: keys, placement, transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dask.delayed import Delayed

from daskmgrit.graph import tasks, window_tasks
from daskmgrit.graph.submission import TaskBook

__all__ = ["WindowBuilder"]

# Rows beyond this are cut out of a share before they travel, so that the window stays where it is: that is a task more
# for each process, and a link more for the sweep.
TRAVELS = 1 << 20
# Seconds of sweeps in one task, where one process has the whole window.
TASK_SECONDS = 1.0


@dataclass(frozen=True)
class WindowBuilder:
    """Adds the tasks of rounds. A round's state is a list with the ``Delayed`` share of each process.

    Attributes
    ----------
    book : TaskBook
        Where tasks go.
    settings, phi, w0 : Delayed
        Stand-ins for the method, the propagator and the initial value.
    threads : tuple of int
        Threads of each process that the solve uses.
    window_bytes : int
        Approximate bytes of a window.
    run : str
        Token that sets this solve's keys apart.
    numbers : iterator of int
        Numbers the rounds of the solve: with them its keys are unique.
    keep : bool
        Whether accepted states are kept.
    """

    book: TaskBook
    settings: Delayed
    phi: Delayed
    w0: Delayed
    threads: tuple[int, ...]
    window_bytes: int
    run: str
    numbers: Iterator[int]
    keep: bool

    def _add(
        self, name: str, number: int, owner: int, function: Callable[..., Any], *args: Any, urgent: bool = False
    ) -> Delayed:
        key = f"{name}.L0-{self.run}-{number}-{number}-{owner}"
        return self.book.add(key, tasks.attempt, function, *args, owner=owner, urgent=urgent)

    def start(self) -> list[Delayed]:
        """Add the state at which a solve begins."""
        begin = self._add("window", next(self.numbers), 0, window_tasks.start, self.phi, self.w0, self.settings)
        return [begin] * len(self.threads)

    def round(self, state: Sequence[Delayed], answered: bool) -> list[Delayed]:
        """Add a round; `answered` tells whether the state is a round's result or the beginning of a solve."""
        number = next(self.numbers)
        if len(self.threads) == 1:
            return [
                self._add(
                    "sweeps",
                    number,
                    0,
                    window_tasks.sweeps,
                    self.phi,
                    self.settings,
                    state[0],
                    self.threads[0],
                    self.run,
                    TASK_SECONDS,
                    self.keep,
                )
            ]
        answers = self._answers(state, number) if answered else [[] for _ in self.threads]
        return [
            self._add(
                "sweep",
                number,
                owner,
                window_tasks.take_round,
                self.phi,
                self.settings,
                state[owner],
                answers[owner],
                owner,
                self.threads,
                self.run,
                self.keep,
            )
            for owner in range(len(self.threads))
        ]

    def _answers(self, state: Sequence[Delayed], number: int) -> list[list[Delayed]]:
        """Return the inputs of each process from all: its own share as it is, the others' without the window."""
        if self.window_bytes <= TRAVELS:
            return [list(state)] * len(self.threads)
        cut = [
            self._add("answer", number, owner, window_tasks.answer, share, urgent=True)
            for owner, share in enumerate(state)
        ]
        return [[*cut[:owner], state[owner], *cut[owner + 1 :]] for owner in range(len(state))]

    def tell(self, state: Sequence[Delayed]) -> Delayed:
        """Add the report of a round for the client."""
        return self._add("tell", next(self.numbers), 0, window_tasks.tell, self.settings, state[0], urgent=True)

    def collect(self, state: Sequence[Delayed]) -> Delayed:
        """Add the state from which later tasks can begin."""
        number = next(self.numbers)
        answers = self._answers(state, number)[0] if len(self.threads) > 1 else []
        return self._add("collect", number, 0, window_tasks.collect, self.settings, state[0], answers, urgent=True)

    def final(self, state: Delayed) -> Delayed:
        """Add the task that cuts out the last accepted state."""
        return self._add("final", next(self.numbers), 0, window_tasks.final, state, urgent=True)

    def accepted(self, state: Sequence[Delayed], first: bool, like: Any) -> Delayed:
        """Add the tasks that cut out the states that a round accepted."""
        begin = self.w0 if first else None
        return self._add("accepted", next(self.numbers), 0, window_tasks.accepted_rows, state[0], begin, like)
