"""The plots of an MGRIT run; each shows any run and sends the browser only the news."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from bokeh.models import (
    HoverTool,
    RadioButtonGroup,
    Range1d,
)

from daskmgrit.dashboard.figures import GREY, box_key, empty, fixed_ticks, legend, new_figure
from daskmgrit.dashboard.history import BARS, MANY, Run
from daskmgrit.dashboard.labels import (
    COLOURS,
    MANY_LEVELS,
    direction,
    does,
    kind,
    last_of,
    levels_of,
    seconds,
    where,
)

__all__ = ["CyclePlot", "LevelPlot"]

_ROW = 0.42  # half the height of a level's row
# In two lines: over a stage there is one for its task, too.
_TOOLTIP = (
    "<div style='font-size:12px'><b>@what</b>, @duration, Phi: @phi<br>"
    "level @level, cycle @cycle, steps @steps, @worker</div>"
)
_WINDOWS = ["last 3 cycles", "whole run", "hold still"]


class LevelPlot:
    """Time from left to right, levels from top to bottom, a bar for each task and each stage."""

    _COLUMNS = (
        *("left", "right", "top", "bottom", "color", "alpha", "line", "width"),
        *("what", "level", "cycle", "steps", "worker", "duration", "phi"),
    )

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = empty(*self._COLUMNS, name="mgrit-bars")
        self.marks = empty("x", "text")
        self.x_range, self.y_range = Range1d(0, 1), Range1d(1, 0)
        self._title = "Level traversal"
        plot = new_figure(
            self._title,
            "xpan,xwheel_zoom,xbox_zoom,reset,save",
            x_range=self.x_range,
            y_range=self.y_range,
            x_axis_label="seconds since the solve began",
            y_axis_label="level",
            output_backend="canvas",
            **options,
        )
        plot.toolbar.autohide = not single
        plot.ygrid.visible = False
        self.levels = fixed_ticks(plot)
        bars = plot.quad(
            left="left",
            right="right",
            top="top",
            bottom="bottom",
            fill_color="color",
            fill_alpha="alpha",
            line_color="line",
            line_width="width",
            source=self.source,
        )
        plot.add_tools(
            HoverTool(
                renderers=[bars],
                tooltips=_TOOLTIP,
            )
        )
        plot.ray(
            x="x", y=0, length=0, angle=math.pi / 2, line_color=GREY, line_dash="dotted", line_alpha=0.7,
            source=self.marks,
        )  # fmt: skip
        plot.text(
            x="x", y=-0.46, text="text", x_offset=3, text_font_size="11px", text_color=GREY, text_baseline="bottom",
            source=self.marks,
        )  # fmt: skip
        items = [box_key(plot, name, color=colour) for name, colour in COLOURS.items()]
        for part in (items[4:], items[:4]) if single else (items,):
            plot.add_layout(legend(part), "above")
        self.plot = plot
        self.window = RadioButtonGroup(labels=_WINDOWS, active=0, align="end", margin=(5, 20, 0, 20))
        self.root, self._single = plot, single
        self.run: Run | None = None
        self.seen = 0
        self._window: tuple[int, float, float] | None = None

    def show(self, run: Run) -> None:
        """Show a run."""
        if run is not self.run:
            self._begin(run)
        if self.seen != run.count:
            new = [self._row(bar) for bar in run.new_bars(self.seen)]
            self.seen = run.count
            self.source.stream({name: [row[i] for row in new] for i, name in enumerate(self._COLUMNS)}, BARS)
        whole = _WINDOWS[self.window.active or 0] == "whole run"
        self.plot.title.text = self._title + (last_of(run.count, BARS) if whole else "")
        self._move(run)

    def _begin(self, run: Run) -> None:
        self._window, self.run, self.seen, steps = None, run, 0, run.about["steps"]
        self.source.data = {name: [] for name in self._COLUMNS}
        self.y_range.start, self.y_range.end = len(steps) - 1 + 0.55, -0.85
        self.levels.ticks = list(range(len(steps)))
        self.plot.yaxis.major_label_overrides = {level: f"{level}  (N = {n})" for level, n in enumerate(steps)}
        if self._single:
            self._title = f"Level traversal: {run.about['phi']}, {run.about['cycle']}-cycle, N = {steps[0]}"

    def _row(self, bar: Any) -> tuple[Any, ...]:
        assert self.run is not None
        points, started = self.run.about["steps"][0] + 1, self.run.started
        colour, many = COLOURS[kind(bar.name, bar.task)], bar.level < bar.last
        top, bottom = bar.level - _ROW, bar.last + _ROW
        if not many:
            top, bottom = top + 2 * _ROW * bar.lo / points, top + 2 * _ROW * bar.hi / points
        # A task is a frame around its stages.
        inset = 0.0 if bar.task else 0.16 * (bottom - top)
        return (
            bar.start - started,
            bar.stop - started,
            top + inset,
            bottom - inset,
            colour,
            0.3 if bar.task else 1.0,
            "#777777" if many else colour,
            1.2 if bar.task else 0,
            does(bar.name, bar.task),
            f"{bar.level} to {bar.last}" if many else str(bar.level),
            str(bar.cycle) if bar.cycle else "0 (initial guess)",
            f"{bar.lo} to {bar.hi - 1}",
            bar.worker.rpartition("/")[2],
            seconds(bar.stop - bar.start),
            "see its stages" if math.isnan(bar.phi) else seconds(bar.phi),
        )

    def _move(self, run: Run) -> None:
        """Let the time axis follow the run."""
        window = self.window.active or 0
        if _WINDOWS[window] == "hold still" or not run.bars:
            return
        stop = max(bar.stop for bar in list(run.bars)[-50:]) - run.started
        cycles = sorted(run.begun)
        if _WINDOWS[window] == "last 3 cycles" and len(cycles) > 3:
            cycles = cycles[-3:]
            start = run.begun[cycles[0]] - run.started
        else:
            start = min(bar.start for bar in islice(run.bars, 50)) - run.started
        # Where nothing is new, the user may look about.
        if self._window == (window, start, stop):
            return
        self._window = window, start, stop
        margin = 0.01 * (stop - start)
        self.x_range.update(
            start=start - margin, end=stop + margin, reset_start=start - margin, reset_end=stop + margin
        )
        marks: dict[str, list[Any]] = {"x": [], "text": []}
        for cycle in cycles:
            x = run.begun[cycle] - run.started
            if x >= start and (not marks["x"] or x - marks["x"][-1] > 0.07 * (stop - start)):  # as wide as the words
                marks["x"].append(x)
                words = f"cycle {cycle}" if cycle else "initial guess"
                marks["text"].append(words if stop - x > 0.07 * (stop - start) else "")
        self.marks.data = marks


class CyclePlot:
    """The path of the current cycle through the levels, filled as its tasks are done."""

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.path = empty("x", "y", "color", "whole", "size", "ring", "what", "done")
        self.y_range = Range1d(1, 0)
        plot = new_figure("Current cycle", y_range=self.y_range, y_axis_label="level", **options)
        plot.xaxis.visible = plot.xgrid.visible = False
        self.levels = fixed_ticks(plot)
        plot.line("x", "y", source=self.path, color="#AAAAAA", line_width=2)
        plot.scatter(
            "x", "y", source=self.path, size="whole", fill_color="white", line_color="ring", line_width=2, name="rings"
        )
        dots = plot.scatter("x", "y", source=self.path, size="size", fill_color="color", line_color=None)
        rings = plot.select_one({"name": "rings"})
        plot.add_tools(HoverTool(renderers=[rings, dots], tooltips=[("", "@what"), ("tasks done", "@done")]))
        self.root = self.plot = plot
        self.shown: tuple[Any, int] | None = None

    def show(self, run: Run) -> None:
        """Show a run."""
        if self.shown == (id(run), run.changes):
            return
        self.shown = id(run), run.changes
        count = len(run.about["steps"])
        cycle, place, share = where(run)
        path = run.path(cycle)
        # A dot for each of the levels that one task goes up.
        dots = [(stage, level) for stage in path for level in range(stage.last, stage.level - 1, -1)]
        path, levels = [stage for stage, _ in dots], [level for _, level in dots]
        at = next((i for i, stage in enumerate(path) if stage.waiting), None) if run.ended is None else None
        whole = min(max(380 / max(len(path), 1), 8), 20)  # F-cycles are long
        shares = [stage.done / stage.tasks if stage.tasks else 0.0 for stage in path]
        colours = [COLOURS[kind(stage.name, True)] for stage in path]
        self.path.data = {
            "x": list(range(len(path))),
            "y": levels,
            "color": ["#888888" if colour == COLOURS[MANY_LEVELS] else colour for colour in colours],
            "whole": [whole] * len(path),
            "size": [0.8 * whole * math.sqrt(share) for share in shares],
            "ring": ["black" if i == at else "#999999" for i in range(len(path))],
            "what": [f"{does(stage.name, True)} ({direction(stage.name)}, {levels_of(stage)})" for stage in path],
            "done": [f"{stage.done} of {stage.tasks}" for stage in path],
        }
        # Levels that one task takes have one row.
        last = max(levels, default=count - 1)
        joined = last < count - 1 and any(stage.name in MANY for stage in path)
        last = last if joined else count - 1
        self.y_range.start, self.y_range.end = last + 0.5, -0.5
        self.levels.ticks = list(range(last + 1))
        self.plot.yaxis.major_label_overrides = {last: f"{last} to {count - 1}"} if joined else {}
        if cycle is None:
            self.plot.title.text = "Current cycle"
        elif run.ended is not None:
            self.plot.title.text = f"Cycle {cycle}, the last" if cycle else "Initial guess"
        elif not cycle:
            self.plot.title.text = f"Initial guess: {share:.0%} done"
        else:
            self.plot.title.text = f"Cycle {cycle}: {place}, {share:.0%} done"
