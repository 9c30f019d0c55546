"""The page's data of a run by either method: its client, its times, its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from daskmgrit.dashboard.events import TaskName

__all__ = ["RESIDUALS", "AnyRun"]

RESIDUALS = 5000  # residuals of each run


@dataclass(slots=True)
class AnyRun(ABC):
    """One solve.

    Attributes
    ----------
    about : dict
        The client's description as the run began.
    started, ended : float
        Seconds since the epoch.
    state : str
        ``"running"``, the reason of the Result, or the cause of its absence.
    residuals : deque of (int, float)
        The last of them, by cycle or sweep.
    accepted_residuals : deque of (int, float)
        Residuals over all accepted steps, for a method that accepts steps one after another.
    tasks : int
        Tasks done.
    busy : float
        Seconds of worker threads in all tasks.
    changes : int
        Grows with each event.
    """

    #: Unit of the numbers in `residuals`.
    counts: ClassVar[str] = "cycle"
    #: The rows of :meth:`shares`.
    shares_by: ClassVar[str] = "level"

    about: dict[str, Any]
    started: float
    threads: int = 1
    ended: float | None = None
    state: str = "running"
    message: str = ""
    residuals: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RESIDUALS))
    accepted_residuals: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RESIDUALS))
    tasks: int = 0
    busy: float = 0.0
    changes: int = 0

    @abstractmethod
    def submitted(self, names: Iterable[TaskName]) -> None:
        """Record tasks that the client has sent."""

    @abstractmethod
    def task(self, name: TaskName, worker: str, start: float, stop: float, transfer: float) -> None:
        """Record a task that ended, with the seconds that it waited for transfers."""

    @abstractmethod
    def hear(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Process an event of the client; return its form for programs that subscribe to the events."""

    @abstractmethod
    def shares(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """Return the shares of worker threads' time: a name, then seconds of Phi, other work, transfers, waiting."""

    def shown_residuals(self) -> list[tuple[int, float]]:
        """Return the residuals that are drawn."""
        return list(self.residuals)

    def end(self, state: str, message: str, now: float) -> None:
        """Record the run's end; only the first counts."""
        if self.ended is None:
            self.state, self.message, self.ended = state, message, now
            self.changes += 1
