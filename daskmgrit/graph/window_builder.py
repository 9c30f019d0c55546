"""The rounds of a parallel Newton solve as ``dask.delayed`` tasks: keys, placement, transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dask.delayed import Delayed

from daskmgrit.graph import tasks, window_rounds, window_tasks
from daskmgrit.graph.submission import TaskBook

__all__ = ["WindowBuilder"]


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
    run : str
        Token that sets this solve's keys apart.
    numbers : iterator of int
        Numbers the rounds of the solve: with them its keys are unique.
    keep : bool
        Whether accepted states are kept.
    silence : float
        Seconds that processes wait for one that does not answer.
    """

    book: TaskBook
    settings: Delayed
    phi: Delayed
    w0: Delayed
    threads: tuple[int, ...]
    run: str
    numbers: Iterator[int]
    keep: bool
    silence: float

    def _add(
        self, name: str, number: int, owner: int, function: Callable[..., Any], *args: Any, urgent: bool = False
    ) -> Delayed:
        key = f"{name}.L0-{self.run}-{number}-{number}-{owner}"
        return self.book.add(key, tasks.attempt, function, *args, owner=owner, urgent=urgent)

    @property
    def _together(self) -> bool:
        return len(self.threads) > 1

    def start(self) -> Delayed:
        """Add the state at which a solve begins."""
        made = self.phi, self.w0, self.settings, self._together
        return self._add("window", next(self.numbers), 0, window_tasks.start, *made)

    def begin(self, carrier: Delayed) -> Delayed:
        """Add a state at which tasks begin that do not depend on those before."""
        return self._add("window", next(self.numbers), 0, window_tasks.begin, carrier) if self._together else carrier

    def round(self, state: Sequence[Delayed], head: Delayed, count: int) -> list[Delayed]:
        """Add a round of `count` sweeps.

        Parameters
        ----------
        state : sequence of Delayed
            The share of each process in the last round, or the beginning.
        head : Delayed
            The report of the last round, or the beginning.
        count : int
            Sweeps to do.
        """
        number = next(self.numbers)
        given = self.phi, self.settings, state[0], count
        if not self._together:
            return [self._add("sweeps", number, 0, window_tasks.sweeps, *given, self.threads[0], self.run, self.keep)]
        lead = self._add(
            "sweeps", number, 0, window_rounds.lead, *given, number, self.threads, self.run, self.keep, self.silence
        )
        others = [
            self._add(
                "sweeps",
                number,
                owner,
                window_rounds.follow,
                self.phi,
                self.settings,
                state[owner],
                head,
                number,
                owner,
                self.threads[owner],
                self.run,
                self.silence,
            )
            for owner in range(1, len(self.threads))
        ]
        return [lead, *others]

    def tell(self, state: Sequence[Delayed]) -> Delayed:
        """Add the report of a round for the client."""
        return self._add("tell", next(self.numbers), 0, window_tasks.tell, self.settings, state[0], urgent=True)

    def collect(self, state: Sequence[Delayed]) -> Delayed:
        """Add the state from which later tasks can begin."""
        return self._add("collect", next(self.numbers), 0, window_tasks.carrier_of, state[0], urgent=True)

    def final(self, state: Delayed) -> Delayed:
        """Add the task that cuts out the last accepted state."""
        return self._add("final", next(self.numbers), 0, window_tasks.final, state, urgent=True)

    def accepted(self, state: Sequence[Delayed], first: bool, like: Any) -> Delayed:
        """Add the tasks that cut out the states that a round accepted."""
        begin = self.w0 if first else None
        return self._add("accepted", next(self.numbers), 0, window_tasks.accepted_rows, state[0], begin, like)
