"""The levels as a run went through them: its tasks against time, from the records that it brought home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskmgrit.display.axes import new_axes
from daskmgrit.display.colours import KINDS, Kind, kind_of
from daskmgrit.display.shown import Shown
from daskmgrit.recurrence.meter import Record
from daskmgrit.utils.validation import integer_option

__all__ = ["chosen_cycles", "lanes", "plot_traversal"]

# Of a level's band, how much its tasks fill.
BAND = 0.8
# Of the time shown, what is too short for an edge and a hatch to be seen; a third of it is the least that is drawn.
NARROW = 1 / 150

# Left, width, top, height.
Box = tuple[float, float, float, float]


def chosen_cycles(cycles: Any, done: int) -> tuple[int, int]:
    """Return the first and the last cycle that the user's `cycles` means, of `done` cycles.

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
    """Give each record a lane of its level, so that none overlaps another there; a process stays in its lane if it can.

    Parameters
    ----------
    records : sequence of Record
        Those of one level.
    slack : float, default 0
        So many seconds of overlap are none: two clocks made the records.

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


def plot_traversal(result: Shown, cycles: Any = None, ax: Any = None) -> Any:
    """Draw tasks by time and level, see :meth:`daskmgrit.Result.plot_levels`."""
    if result.method != "MGRIT":
        raise ValueError(
            f"a result of {result.method} has no levels: use plot_window(), which shows its window by time"
        )
    first, last = chosen_cycles(cycles, result.iterations)
    records = [record for record in result.records if first <= record.cycle <= last]
    if not records:
        raise ValueError("there is nothing to plot: no residual of this run is known, so it has no records")
    depth = len(result.levels)
    if ax is None:
        ax = new_axes(9.0, 1.5 + 0.45 * depth)
    origin = min(record.start for record in records)
    span = max(record.start + record.seconds for record in records) - origin
    unit, scale = ("ms", 1e3) if span < 2 else ("s", 1.0)
    for level in range(depth):
        if level % 2:
            ax.axhspan(level - 0.5, level + 0.5, color="0.96", zorder=0)
        here = [record for record in records if record.level == level]
        given = lanes(here, slack=1e-3 * span)
        height = BAND / (max(given, default=0) + 1)
        boxes: dict[str, list[Box]] = {}
        for record, lane in zip(here, given, strict=True):
            box = (record.start - origin) * scale, record.seconds * scale
            boxes.setdefault(kind_of(record.kind).name, []).append((*box, level - BAND / 2 + lane * height, height))
        _draw_boxes(ax, boxes, NARROW * span * scale)
    for cycle in range(first, last + 1):
        begin = min((record.start for record in records if record.cycle == cycle), default=origin)
        ax.axvline((begin - origin) * scale, color="0.3", linestyle=":", linewidth=1, zorder=1)
        name = f"cycle {cycle}" if cycle else "initial guess"
        ax.annotate(
            name,
            ((begin - origin) * scale, 1),
            (3, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize="small",
        )
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


def _which(first: int, last: int, result: Shown) -> str:
    if last == 0:
        return "initial guess"
    chosen = f"cycle {first}" if first == last else f"cycles {first} to {last}"
    return f"{chosen} of {result.iterations}"


def _style(kind: Kind) -> dict[str, Any]:
    return {"facecolor": kind.colour, "edgecolor": "black", "hatch": kind.hatch, "linewidth": 0.3}


def _draw_boxes(ax: Any, boxes: dict[str, list[Box]], narrow: float) -> None:
    """Draw all boxes of a kind as one collection, for there may be thousands; the narrow ones without an edge."""
    from matplotlib.collections import PolyCollection

    for kind in KINDS:
        drawn = boxes.get(kind.name, ())
        for chosen, style in (
            ([box for box in drawn if box[1] >= narrow], _style(kind)),
            # An edge would hide the colour of these.
            ([box for box in drawn if box[1] < narrow], {"facecolor": kind.colour, "linewidth": 0}),
        ):
            if chosen:
                wide = [(x, max(w, narrow / 3), y, h) for x, w, y, h in chosen]
                corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, w, y, h in wide]
                ax.add_collection(PolyCollection(corners, zorder=2, **style))


def _keys(records: Sequence[Record]) -> list[Any]:
    from matplotlib.patches import Patch

    seen = {kind_of(stage) for stage in {record.kind for record in records}}
    return [Patch(label=kind.name, **_style(kind)) for kind in KINDS if kind in seen]
