"""The content of a solve's task keys, and the client's events for the scheduler: plain lists and dicts."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.meter import Record

__all__ = ["CHANNEL", "StageRow", "TaskName", "describe", "layout_event", "read_key", "short_name", "stage_rows"]

# Name of the handler on the scheduler, of the event topic, and the stem of the plug-ins' names.
CHANNEL = "daskmgrit"

_KEY = re.compile(r"(\w+)\.L(\d+)-(\w+)-(\d+)-(\d+)-(\d+)")


class TaskName(NamedTuple):
    """The parts of a task's key."""

    name: str
    level: int
    cycle: int
    stage: int  # numbers the stages of a solve in their order
    chunk: int


class StageRow(NamedTuple):
    """A stage as its task ran it, for the wire; see :class:`daskmgrit.recurrence.meter.Record`."""

    kind: str
    level: int  # that it worked on
    row: int  # level of the task that it was part of
    chunk: int  # on that level
    cycle: int
    start: float
    seconds: float
    phi_seconds: float


def read_key(key: Any, run: str) -> TaskName | None:
    """Return the parts of a key, or None if it is not of this run.

    Examples
    --------
    >>> read_key("relax.L1-0abc-7-52-3", "0abc")
    TaskName(name='relax', level=1, cycle=7, stage=52, chunk=3)
    >>> read_key("relax.L1-0abc-7-52-3", "0def") is None
    True
    """
    if type(key) is not str or run not in key:
        return None
    found = _KEY.fullmatch(key)
    if found is None or found[3] != run:
        return None
    return TaskName(found[1], int(found[2]), int(found[4]), int(found[5]), int(found[6]))


def describe(
    run: str, client: str, phi: Any, hierarchy: Hierarchy, layout: ChunkLayout, tol: float, maxiter: int
) -> dict[str, Any]:
    """Return the page's description of a run; `layout` is that of the initial guess."""
    return {
        "run": run,
        "client": client,
        "phi": short_name(phi),
        "cycle": hierarchy.cycle,
        "steps": hierarchy.steps,
        "tol": tol,
        "maxiter": maxiter,
        "layout": layout_event(layout, hierarchy),
    }


def short_name(phi: Any) -> str:
    """Return a short name for a propagator: a function's, that of its own repr, or the class's."""
    shown = getattr(phi, "__name__", "") or ("" if type(phi).__repr__ is object.__repr__ else repr(phi))
    return shown if 0 < len(shown) <= 40 else type(phi).__name__


def layout_event(layout: ChunkLayout, hierarchy: Hierarchy) -> dict[str, Any]:
    """Return the fine steps at which the chunks of each level begin, the last end added.

    The event also has, for each level, the coarsest level that is corrected in one task with it.

    Examples
    --------
    >>> from daskmgrit.multigrid.hierarchy import build_hierarchy
    >>> from daskmgrit.graph.chunking import cut
    >>> hierarchy = build_hierarchy(100)
    >>> layout_event(cut(hierarchy, 2, [1, 1], 3), hierarchy)
    {'gathered': 3, 'bounds': [[0, 48, 101], [0, 48, 101], [0, 48, 101]], 'corrected_from': [2, 2, 2]}
    """
    bounds, scale = [], 1
    for number, level in enumerate(layout.levels):
        scale *= hierarchy[number].coarsening
        bounds.append([*(bound * scale for bound in level.bounds[:-1]), hierarchy[0].steps + 1])
    corrected_from = [layout.corrected_from(level) for level in range(layout.gathered)]
    return {"gathered": layout.gathered, "bounds": bounds, "corrected_from": corrected_from}


def stage_rows(records: Iterable[Record], layout: ChunkLayout) -> list[StageRow]:
    """Return the stages, in the order of their beginning, each with the level and chunk of the task that ran it."""
    rows = []
    for record in records:
        # A coarse step is taken by the chunks of the level above it.
        row = record.level - (record.kind == "coarse step")
        chunk = 0
        if row < layout.gathered:
            chunk = bisect.bisect_right(layout.levels[row].bounds, record.first) - 1
        rows.append(
            StageRow(
                record.kind,
                record.level,
                min(row, layout.gathered),
                chunk,
                record.cycle,
                record.start,
                record.seconds,
                record.phi_seconds,
            )
        )
    return sorted(rows, key=lambda row: row.start)
