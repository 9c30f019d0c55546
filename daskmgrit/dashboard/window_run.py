"""A parallel Newton run, in bounded memory: its sweeps, and the shares of the workers' time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from daskmgrit.dashboard.events import TaskName
from daskmgrit.dashboard.run import AnyRun
from daskmgrit.dashboard.window_events import SweepRow

__all__ = ["POINTS", "SWEEPS", "WindowRun"]

SWEEPS = 6000  # rows of each run
POINTS = 150  # what a small plot has room for

_SWEEPING = "sweeps"  # tasks that evaluate, on all threads of their process


@dataclass(slots=True)
class WindowRun(AnyRun):
    """One solve by parallel Newton.

    Attributes
    ----------
    about : dict
        See :func:`daskmgrit.dashboard.window_events.describe_window`.
    rows : deque of SweepRow
        The last of them, by the scheduler's clock; `count` is how many there were.
    sweeps : int
        Sweeps done, with those before a checkpoint that the solve resumed from.
    first : int
        p, the steps that are accepted.
    swept : int
        Sweeps that this run did.
    phi : float
        Seconds of Phi in all sweeps, of all threads.
    """

    counts: ClassVar[str] = "sweep"
    shares_by: ClassVar[str] = "task"

    rows: deque[SweepRow] = field(default_factory=lambda: deque(maxlen=SWEEPS))
    count: int = 0
    sweeps: int = 0
    first: int = 0
    swept: int = 0
    phi: float = 0.0
    # Seconds of threads in tasks, and of transfers to them: for sweeps, and for all others.
    _sweeping: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _others: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _begun: float = math.inf
    _latest: float = -math.inf
    _shift: float | None = None

    def __post_init__(self) -> None:
        self.first = self.begin

    def submitted(self, names: Iterable[TaskName]) -> None:
        """Record nothing: rounds are submitted ahead."""

    def task(self, name: TaskName, worker: str, start: float, stop: float, transfer: float) -> None:
        """Record a task that ended."""
        sweeping, threads = name.name == _SWEEPING, self.about["window"]["threads"]
        width = threads[name.chunk] if sweeping and name.chunk < len(threads) else 1
        total = self._sweeping if sweeping else self._others
        total[0] += width * (stop - start)
        total[1] += transfer
        if sweeping:
            self._begun, self._latest = min(self._begun, start), max(self._latest, stop)
        self.tasks += 1
        self.busy += width * (stop - start)
        self.changes += 1

    def hear(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Process the client's event of a round."""
        if "sweeps" not in event:
            return []
        told = []
        for given in event["sweeps"]:
            row = SweepRow(*given)
            if self._shift is None and math.isfinite(self._begun) and math.isfinite(row.start):
                # Clocks differ: the first sweep begins with the first task.
                self._shift = self._begun - row.start
            shift = self._shift or 0.0
            self.rows.append(row._replace(start=row.start + shift, stop=row.stop + shift))
            self.count += 1
            self.sweeps, self.first = row.sweep, row.first + row.accepted
            self.swept += row.sweeps
            self.phi += row.phi
            self.residuals.append((row.sweep, row.residual))
            told.append({"sweep": row.sweep, "residual": row.residual, "step": self.first})
        if told:
            self.accepted_residuals.append((self.sweeps, event["accepted_residual"]))
        self.changes += 1
        return told

    @property
    def begin(self) -> int:
        """The step that this run began at."""
        return int(self.about["window"]["first"])

    @property
    def mean(self) -> float:
        """Steps that a sweep of this run accepted, on average; nan before the first."""
        return (self.first - self.begin) / self.swept if self.swept else math.nan

    def new_rows(self, seen: int) -> Iterator[SweepRow]:
        """Return the rows after the first `seen` that are still kept."""
        return islice(self.rows, max(len(self.rows) - (self.count - seen), 0), None)

    def thinned(self) -> list[tuple[SweepRow, ...]]:
        """Return the kept rows, with neighbours merged into at most `POINTS` groups."""
        rows = tuple(self.rows)
        size = max(math.ceil(len(rows) / POINTS), 1)
        return [rows[begin : begin + size] for begin in range(0, len(rows), size)]

    def shown_residuals(self) -> list[tuple[int, float]]:
        """Return the residuals that are drawn: if there are many, the largest of each group of neighbours."""
        return [(group[-1].sweep, max(row.residual for row in group)) for group in self.thinned()]

    def shares(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """Return the shares of worker threads' time: in sweeps, between them, and in other tasks if that is much."""
        if not self._sweeping[0]:
            return []
        threads = sum(self.about["window"]["threads"])
        (seconds, transfer), (other, sent) = self._sweeping, self._others
        waited = threads * (self._latest - self._begun) - seconds - transfer
        shares = [
            ("sweeps", (self.phi, max(seconds - self.phi, 0.0), transfer, max(waited, 0.0))),
            ("others", (0.0, other, sent, 0.0)),
        ]
        least = 0.01 * sum(shares[0][1])
        return [(name, share) for name, share in shares if sum(share) > least]
