"""MGRIT's last runs, in bounded memory: plain data, written by the plug-in and read by the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from daskmgrit.dashboard.events import StageRow, TaskName
from daskmgrit.dashboard.run import RESIDUALS, AnyRun

__all__ = ["BARS", "RESIDUALS", "RUNS", "Bar", "History", "Run", "Stage"]

RUNS = 8  # runs that are remembered
BARS = 6000  # glyphs of each
_CYCLES = 1000  # cycles of each whose beginning is remembered

MANY = {"V_cycle", "F_cycle", "whole_cycle", "nested"}  # tasks that span several levels
# Tasks that move, collect or keep what others made.
SERVICE = {"edge", "part", "report", "residual", "regroup", "save", "saved", "load", "final"}
_ELSEWHERE = {"report", "residual", "regroup", "saved"}  # tasks whose number is not that of a chunk of the layout

# Which stages a task may hold.
_HOLDS = {
    "initial": {"initial residual", "F-relaxation"},
    "interpolate": {"F-relaxation"},
    "relax": {"C-relaxation", "F-relaxation"},
    "probe": {"C-relaxation"},
    "relax_restrict": {"C-relaxation", "F-relaxation", "residual", "coarse step"},
    "restrict": {"residual", "coarse step", "F-relaxation"},
    "coarse_step": {"coarse step"},
    "enter": {"F-relaxation"},
    "correct": {"correction", "F-relaxation"},
    "coarse_solve": {"coarse solve"},
    "load": {"F-relaxation"},
}


class Bar(NamedTuple):
    """A glyph of the traversal: a task as it ended, or one of its stages."""

    name: str  # of the task, or the stage's kind
    task: bool
    level: int  # the rows of levels that it covers
    last: int
    cycle: int
    lo: int  # the steps of level 0 that it covers, lo … hi-1
    hi: int
    worker: str
    start: float  # seconds since the epoch
    stop: float
    phi: float  # seconds of Phi; nan where that is not known


@dataclass(slots=True)
class Stage:
    """A stage of a cycle: its tasks, and the number of those done."""

    name: str
    level: int
    last: int  # the coarsest of its levels
    waiting: set[tuple[str, int]] = field(default_factory=set)
    ended: set[tuple[str, int]] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Tasks that ended."""
        return len(self.ended)

    @property
    def tasks(self) -> int:
        """All tasks."""
        return len(self.ended) + len(self.waiting)


@dataclass(slots=True)
class _Task:
    """A task whose stages are not reported yet."""

    name: str
    level: int
    bar: Bar
    transfer: float
    zero: float | None = None  # when its first stage began, by its worker's clock
    phi: dict[int, float] = field(default_factory=dict)  # seconds by the level that they count for


@dataclass(slots=True)
class Run(AnyRun):
    """One solve by MGRIT.

    Attributes
    ----------
    about : dict
        See :func:`daskmgrit.dashboard.events.describe`.
    bars : deque of Bar
        The last of them; `count` is how many there were.
    cycles : dict
        Stages of the last cycles that were submitted, by their number.
    begun : dict
        When the last cycles began.
    totals : list
        By level of the tasks: seconds of Phi, of the rest of the tasks, and of transfers to them, in all cycles whose
        residual is known.
    """

    bars: deque[Bar] = field(default_factory=lambda: deque(maxlen=BARS))
    count: int = 0
    cycles: dict[int, dict[int, Stage]] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)
    totals: list[list[float]] = field(default_factory=list)
    _layout: dict[str, Any] = field(default_factory=dict)
    _open: dict[tuple[int, int, int], list[_Task]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.totals = [[0.0, 0.0, 0.0] for _ in self.about["steps"]]

    # -- what is heard -------------------------------------------------------------------------------------------

    def submitted(self, names: Iterable[TaskName]) -> None:
        """Record tasks that the client has sent."""
        for name in names:
            stages = self.cycles.setdefault(name.cycle, {})
            stage = stages.get(name.stage)
            if stage is None:
                stage = stages[name.stage] = Stage(name.name, name.level, self._last(name))
            elif stage.name in SERVICE and name.name not in SERVICE:
                stage.name, stage.level, stage.last = name.name, name.level, self._last(name)
            # A graph may name again what an earlier one has made.
            if (name.name, name.chunk) not in stage.ended:
                stage.waiting.add((name.name, name.chunk))
        # At most two cycles are in progress; the one before them may still be reported on.
        for old in sorted(self.cycles)[:-3]:
            del self.cycles[old]
        self.changes += 1

    def task(self, name: TaskName, worker: str, start: float, stop: float, transfer: float) -> None:
        """Record a task that ended."""
        stage = self.cycles.get(name.cycle, {}).get(name.stage)
        if stage is not None:
            stage.waiting.discard((name.name, name.chunk))
            stage.ended.add((name.name, name.chunk))
        last = len(self.about["steps"]) - 1 if name.name in MANY else name.level
        lo, hi = self._steps(name, stage)
        bar = Bar(name.name, True, name.level, last, name.cycle, lo, hi, worker, start, stop, float("nan"))
        levels = range(name.level, self._last(name) + 1)
        self._draw(bar)
        for level in levels[1:]:
            self._draw(bar._replace(level=level, last=level))
        self.tasks += 1
        self.busy += stop - start
        if name.cycle not in self.begun:
            self.begun[name.cycle] = start
            if len(self.begun) > _CYCLES:
                del self.begun[min(self.begun)]
        # A client that settles nothing must not make the scheduler remember all.
        if len(self._open) < 4 * BARS:
            chunk = 0 if name.name in MANY or name.name == "coarse_solve" else name.chunk
            task = _Task(name.name, name.level, bar, transfer)
            for level in levels:
                self._open.setdefault((name.cycle, level, chunk), []).append(task)

    def hear(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Process the client's event of a cycle."""
        if "layout" in event:
            self.layout(event["layout"])
        if "residual" not in event:
            return []
        self.settled(event["cycle"], event["residual"], (StageRow(*row) for row in event["stages"]))
        return [{name: event[name] for name in ("cycle", "residual")}]

    def layout(self, event: dict[str, Any]) -> None:
        """Record the chunks of the levels, from cycle 1 on."""
        self._layout = event

    def settled(self, cycle: int, residual: float, rows: Iterable[StageRow]) -> None:
        """Record a cycle whose residual is known, and the stages done up to there."""
        for row in rows:
            task = self._holder(row)
            if task is not None:
                self._place(row, task)
        for key in [key for key in self._open if key[0] <= cycle]:
            tasks = self._open.pop(key)
            if key[0] == 0:  # the initial guess is no cycle, and may be cut otherwise
                continue
            for task in tasks:
                if task.level != key[1]:
                    continue
                for level, phi in task.phi.items():
                    self.totals[level][0] += phi
                total = self.totals[task.level]
                total[1] += max(task.bar.stop - task.bar.start - sum(task.phi.values()), 0.0)
                total[2] += task.transfer
        self.residuals.append((cycle, residual))
        self.changes += 1

    def end(self, state: str, message: str, now: float) -> None:
        """Record the run's end; the stages of open tasks will not be reported."""
        AnyRun.end(self, state, message, now)
        self._open.clear()

    # -- what is drawn -------------------------------------------------------------------------------------------

    def new_bars(self, seen: int) -> Iterator[Bar]:
        """Return the bars after the first `seen` that are still kept."""
        return islice(self.bars, max(len(self.bars) - (self.count - seen), 0), None)

    @property
    def gathered(self) -> int:
        """First level of those that run within one task."""
        return int((self._layout or self.about["layout"])["gathered"])

    def current(self) -> int | None:
        """Return the cycle in progress: the first with open tasks; after the end, the last that counts."""
        if self.ended is not None and self.residuals:
            return self.residuals[-1][0]
        for cycle in sorted(self.cycles):
            if any(stage.waiting for stage in self.cycles[cycle].values()):
                return cycle
        return max(self.cycles, default=None)

    def path(self, cycle: int | None) -> list[Stage]:
        """Return the stages by which a cycle goes down and up the levels, in their order."""
        stages = self.cycles.get(cycle, {}) if cycle is not None else {}
        return [stages[number] for number in sorted(stages) if stages[number].name not in {*SERVICE, "guess"}]

    def shares(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """Return the shares of worker threads' time, by the level of the tasks."""
        last, shares = len(self.about["steps"]) - 1, []
        for level, (phi, rest, transfer) in enumerate(self.totals):
            if phi + rest + transfer:
                name = f"{level} to {last}" if level == self.gathered < last else str(level)
                shares.append((name, (phi, rest, transfer, 0.0)))
        return shares

    # -- within --------------------------------------------------------------------------------------------------

    def _draw(self, bar: Bar) -> None:
        self.bars.append(bar)
        self.count += 1
        self.changes += 1

    def _layout_of(self, cycle: int) -> dict[str, Any]:
        """Return the chunks of the levels in a cycle."""
        layout: dict[str, Any] = self._layout if cycle and self._layout else self.about["layout"]
        return layout

    def _last(self, name: TaskName) -> int:
        """Return the coarsest of the levels that a task corrects; the task's own if it corrects none."""
        levels = self._layout_of(name.cycle)["corrected_from"] if name.name == "correct" else []
        return int(levels[name.level]) if name.level < len(levels) else name.level

    def _steps(self, name: TaskName, stage: Stage | None) -> tuple[int, int]:
        """Return the steps that a task covers."""
        points = self.about["steps"][0] + 1
        if name.name in MANY or name.name in _ELSEWHERE or name.name == "coarse_solve":
            return 0, points
        # Tasks between two levels are numbered by the chunks of the finer one.
        level = name.level - (name.name in ("coarse_step", "part"))
        layout = self._layout_of(name.cycle)
        bounds = layout["bounds"][level] if level < len(layout["bounds"]) else [0, points]
        if name.chunk < len(bounds) - 1:
            return bounds[name.chunk], bounds[name.chunk + 1]
        # The layout has not come yet: an even share.
        count = max(stage.tasks if stage else 1, name.chunk + 1)
        return name.chunk * points // count, (name.chunk + 1) * points // count

    def _holder(self, row: StageRow) -> _Task | None:
        """Return the task that a stage was part of: the task of its chunk that fits it in time."""
        # The first C-relaxation of a cycle belongs to the residual of the one before. A coarse step may have a task of
        # its own, which is named for its own level; and the first F-relaxation may be part of the task that restricts.
        levels = {"coarse step": (row.row, row.row + 1), "F-relaxation": (row.row, row.row - 1)}
        middle = row.start + row.seconds / 2
        best, least = None, float("inf")
        for cycle in (row.cycle, row.cycle + 1):
            for level in levels.get(row.kind, (row.row,)):
                for task in self._open.get((cycle, level, row.chunk), ()):
                    if level < row.row and task.name not in ("restrict", "relax_restrict"):
                        continue
                    if task.name not in MANY and row.kind not in _HOLDS.get(task.name, ()):
                        continue
                    away = max(task.bar.start - middle, middle - task.bar.stop, 0.0)
                    if away < least:
                        best, least = task, away
        return best

    def _place(self, row: StageRow, task: _Task) -> None:
        """Draw a stage within its task; clocks differ by some milliseconds, so it counts from the first stage there."""
        if task.zero is None:
            task.zero = row.start
        bar = task.bar
        start = min(max(bar.start + row.start - task.zero, bar.start), bar.stop)
        stop = min(start + row.seconds, bar.stop)
        level = row.level if task.name in MANY or task.name == "correct" else task.level
        counted = task.level if task.name in MANY else level
        task.phi[counted] = task.phi.get(counted, 0.0) + row.phi_seconds
        self._draw(
            bar._replace(
                name=row.kind, task=False, level=level, last=level, start=start, stop=stop, phi=row.phi_seconds
            )
        )


class History:
    """The last runs of all methods, newest first."""

    def __init__(self) -> None:
        self.runs: deque[AnyRun] = deque(maxlen=RUNS)

    def add(self, run: AnyRun) -> None:
        """Add a run that begins."""
        self.runs.appendleft(run)

    def newest(self, kind: type[AnyRun] = AnyRun) -> AnyRun | None:
        """Return the newest run of a method that is in progress, else the newest."""
        runs = [run for run in self.runs if isinstance(run, kind)]
        return next((run for run in runs if run.ended is None), runs[0] if runs else None)
