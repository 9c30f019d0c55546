"""What the page knows of a run whatever its method: whose it is, how long it took, how it ended."""

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
        What its client said of it as it began.
    started, ended : float
        Seconds since the epoch.
    state : str
        ``"running"``, the reason of the Result, or why there is none.
    residuals : deque of (int, float)
        The last of them, by cycle or sweep.
    accepted_residuals : deque of (int, float)
        Residuals over all accepted steps, for a method that accepts steps one after another.
    tasks : int
        Tasks done.
    busy : float
        Seconds of worker threads in all tasks.
    changes : int
        Grows with whatever is heard.
    """

    #: What a number of `residuals` counts.
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
        """Take note of tasks that the client has sent."""

    @abstractmethod
    def task(self, name: TaskName, worker: str, start: float, stop: float, transfer: float) -> None:
        """Take note of a task that ended, with the seconds that it waited for transfers."""

    @abstractmethod
    def hear(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Take in what the client tells; return what a program that subscribes to the events is told."""

    @abstractmethod
    def shares(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """Return where worker threads' time went: a name, then seconds of Phi, other work, transfers, and waiting."""

    def shown_residuals(self) -> list[tuple[int, float]]:
        """Return the residuals that are drawn."""
        return list(self.residuals)

    def end(self, state: str, message: str, now: float) -> None:
        """Take note of the run's end; only the first counts."""
        if self.ended is None:
            self.state, self.message, self.ended = state, message, now
            self.changes += 1
