"""The path of a run through the levels: its tasks against time, from its records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskmgrit.display.axes import faint, new_axes
from daskmgrit.display.colours import KINDS, Kind, kind_of
from daskmgrit.display.shown import Shown
from daskmgrit.recurrence.meter import Record
from daskmgrit.utils.validation import integer_option

__all__ = ["chosen_cycles", "lanes", "plot_traversal"]

# Of a level's band, how much its tasks fill.
BAND = 0.8
# Pixels that a box is wide at least, and from which on it has an edge and a hatch, which need some room to be seen.
THIN, WIDE = 3, 9


class Box(NamedTuple):
    """Tasks of a level that are drawn as one.

    Attributes
    ----------
    start, seconds : float
        Its start and its width.
    kind : Kind
        The kind of work that took most of its time.
    lane : int
        Its lane.
    """

    start: float
    seconds: float
    kind: Kind
    lane: int


def chosen_cycles(cycles: Any, done: int) -> tuple[int, int]:
    """Return the first and the last cycle that the user's `cycles` selects, of `done` cycles.

    Raises
    ------
    ValueError
        If there is no such cycle.

    Examples
    --------
    >>> chosen_cycles(None, 9), chosen_cycles(0, 9), chosen_cycles((2, 4), 9)
    ((1, 2), (0, 0), (2, 4))
    """
    if cycles is None:
        return min(1, done), min(2, done)
    remedy = f"give a cycle's number, or (first, last); 0 is the initial guess, and there were {done} cycles"
    if isinstance(cycles, Sequence) and not isinstance(cycles, str):
        if len(cycles) != 2:
            raise ValueError(f"cycles={cycles!r} is not a range: {remedy}")
        first = integer_option("cycles", cycles[0], 0, remedy, most=done)
        return first, integer_option("cycles", cycles[1], first, remedy, most=done)
    number = integer_option("cycles", cycles, 0, remedy, most=done)
    return number, number


def lanes(records: Sequence[Record], slack: float = 0.0) -> list[int]:
    """Assign each record a lane of its level, so that no two overlap; a process stays in its lane if possible.

    Parameters
    ----------
    records : sequence of Record
        Those of one level.
    slack : float, default 0
        Seconds of overlap that are ignored, because two clocks made the records.

    Examples
    --------
    >>> def record(start, process):
    ...     return Record("F-relaxation", 0, 1, 0, start, 1.0, 1.0, 1, 1, process)
    >>> lanes([record(0.0, 7), record(0.5, 8), record(1.0, 8), record(1.5, 8), record(2.0, 7)])
    [0, 1, 0, 1, 0]
    """
    given = [0] * len(records)
    ends: list[float] = []
    last: dict[int, int] = {}
    for number in sorted(range(len(records)), key=lambda number: records[number].start):
        record = records[number]
        free = [lane for lane, end in enumerate(ends) if end <= record.start + slack]
        lane = last.get(record.process, -1)
        if lane not in free:
            lane = free[0] if free else len(ends)
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = record.start + record.seconds
        given[number] = last[record.process] = lane
    return given


def joined(records: Sequence[Record], given: Sequence[int], thin: float) -> list[Box]:
    """Return the boxes to draw for a level's records: thinner records than `thin` are joined.

    Parameters
    ----------
    records : sequence of Record
        Those of one level.
    given : sequence of int
        The lane of each.
    thin : float
        Minimum visible width in seconds.

    Examples
    --------
    >>> def record(kind, start, seconds):
    ...     return Record(kind, 0, 1, 0, start, seconds, seconds, 1, 1, 7)
    >>> records = [record("F-relaxation", 0.0, 0.1), record("correction", 0.1, 0.4), record("C-relaxation", 2.0, 3.0)]
    >>> [(box.start, box.seconds, box.kind.name) for box in joined(records, [0, 0, 0], thin=1.0)]
    [(0.0, 1.0, 'correction'), (2.0, 3.0, 'C-relaxation')]
    """
    boxes = []
    for lane in sorted(set(given)):
        mine = sorted(
            (record for record, other in zip(records, given, strict=True) if other == lane),
            key=lambda record: record.start,
        )
        group: list[Record] = []
        for record in mine:
            # A record that begins before a thin box ends would lie on it.
            if group and (_end(group) - group[0].start >= thin or record.start >= group[0].start + thin):
                boxes.append(_box(group, lane, thin))
                group = []
            group.append(record)
        if group:
            boxes.append(_box(group, lane, thin))
    return boxes


def _end(group: Sequence[Record]) -> float:
    return max(record.start + record.seconds for record in group)


def _box(group: Sequence[Record], lane: int, thin: float) -> Box:
    spent: dict[Kind, float] = {}
    for record in group:
        kind = kind_of(record.kind)
        spent[kind] = spent.get(kind, 0.0) + record.seconds
    start = group[0].start
    return Box(start, max(_end(group) - start, thin), max(spent, key=lambda kind: spent[kind]), lane)


def plot_traversal(result: Shown, cycles: Any = None, ax: Any = None) -> Any:
    """Draw tasks by time and level, see :meth:`daskmgrit.Result.plot_levels`."""
    if result.method != "MGRIT":
        raise ValueError(
            f"a result of {result.method} has no levels: use plot_window(), which shows its window by time"
        )
    first, last = chosen_cycles(cycles, result.iterations)
    records = [record for record in result.records if first <= record.cycle <= last]
    if not records:
        raise ValueError("there is nothing to plot: this run ended before its first residual, so it has no records")
    depth = len(result.levels)
    if ax is None:
        ax = new_axes(9.0, 1.5 + 0.45 * depth)
    origin = min(record.start for record in records)
    span = max(record.start + record.seconds for record in records) - origin
    unit, scale = ("ms", 1e3) if span < 2 else ("s", 1.0)
    # Before the layout is known; the legend takes about a third of the width.
    pixel = span / (0.75 * ax.get_window_extent().width)
    levels = [[record for record in records if record.level == level] for level in range(depth)]
    lane_of = [lanes(here, slack=1e-3 * span) for here in levels]
    most = max(max(given, default=0) for given in lane_of) + 1
    height = BAND / most
    corners: dict[tuple[Kind, bool], list[Any]] = {}
    for level, (here, given) in enumerate(zip(levels, lane_of, strict=True)):
        if level % 2:
            ax.axhspan(level - 0.5, level + 0.5, color=faint(0.05), zorder=0)
        # All bars have the same height, also where several tasks ran side by side on a level.
        top = level - height * (max(given, default=0) + 1) / 2
        for box in joined(here, given, THIN * pixel):
            left, right = ((moment - origin) * scale for moment in (box.start, box.start + box.seconds))
            low, high = top + box.lane * height, top + (box.lane + 1) * height
            wide = box.seconds >= WIDE * pixel
            corners.setdefault((box.kind, wide), []).append([(left, low), (right, low), (right, high), (left, high)])
    _draw_boxes(ax, corners)
    _name_cycles(ax, records, origin, span, scale)
    ax.set_ylim(depth - 0.5, -0.9)
    ax.set_yticks(range(depth), [f"level {level}:  N = {steps}" for level, steps in enumerate(result.levels)])
    ax.set_xlim(-0.005 * span * scale, 1.005 * span * scale)
    ax.set_xlabel(f"time, {unit}")
    ax.set_title(f"{_which(first, last, result)}, {result.cycle}-cycle on {depth} levels", fontsize="medium")
    ax.legend(
        handles=_keys(records),
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
        handlelength=2.4,
        handleheight=1.5,
    )
    return ax


def _name_cycles(ax: Any, records: Sequence[Record], origin: float, span: float, scale: float) -> None:
    """Mark the beginning of each cycle, with its name or number if there is room for it."""
    begins: dict[int, float] = {}
    for record in records:
        begins[record.cycle] = min(begins.get(record.cycle, math.inf), record.start - origin)
    cycles = sorted(begins)
    for cycle, after in zip(cycles, [*(begins[cycle] for cycle in cycles[1:]), span], strict=True):
        begin = begins[cycle]
        ax.axvline(begin * scale, color=faint(0.7), linestyle=":", linewidth=1, zorder=1)
        name = f"cycle {cycle}" if cycle else "initial guess"
        if after - begin < 0.12 * span:
            name = str(cycle)
        if after - begin > 0.03 * span:
            place, offset = (begin * scale, 1), (3, -2)
            ax.annotate(
                name, place, offset, ("data", "axes fraction"), textcoords="offset points", va="top", fontsize="small"
            )


def _which(first: int, last: int, result: Shown) -> str:
    if last == 0:
        return "initial guess"
    chosen = f"cycle {first}" if first == last else f"cycles {first} to {last}"
    return f"{chosen} of {result.iterations}"


def _style(kind: Kind) -> dict[str, Any]:
    return {"facecolor": kind.colour, "edgecolor": "black", "hatch": kind.hatch, "linewidth": 0.3}


def _draw_boxes(ax: Any, corners: dict[tuple[Kind, bool], list[Any]]) -> None:
    """Draw all boxes of a kind as one collection, because there may be thousands; an edge would hide a narrow one."""
    from matplotlib.collections import PolyCollection

    for (kind, wide), drawn in corners.items():
        style = _style(kind) if wide else {"facecolor": kind.colour, "linewidth": 0}
        ax.add_collection(PolyCollection(drawn, zorder=2, **style))


def _keys(records: Sequence[Record]) -> list[Any]:
    from matplotlib.patches import Patch

    seen = {kind_of(stage) for stage in {record.kind for record in records}}
    return [Patch(label=kind.name, **_style(kind)) for kind in KINDS if kind in seen]
