"""The four plots of a run; each shows whatever run it is given and sends the browser only what is new."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
    RadioButtonGroup,
    Range1d,
)
from bokeh.plotting import figure

from daskmgrit.dashboard.history import BARS, Run
from daskmgrit.dashboard.labels import COLOURS, MANY_LEVELS, direction, does, kind, seconds, where

__all__ = ["CyclePlot", "LevelPlot", "PhiPlot", "ResidualPlot"]

_ROW = 0.42  # half the height of a level's row
_WINDOWS = ["last 3 cycles", "whole run", "hold still"]
_GREY = "#666666"


def _figure(title: str, tools: str = "", **options: Any) -> Any:
    made = figure(title=title, tools=tools, **options)
    made.title.text_font_size = "14px"
    for axis in made.axis:
        axis.axis_label_text_font_size = "13px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "12px"
    made.xgrid.grid_line_alpha = made.ygrid.grid_line_alpha = 0.4
    made.toolbar.logo = None
    if not tools:
        made.toolbar_location = None
    return made


def _empty(*names: str, **options: Any) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in names}, **options)


def _legend(items: list[Any]) -> Legend:
    return Legend(
        items=items,
        orientation="horizontal",
        border_line_color=None,
        background_fill_alpha=0,
        label_text_font_size="12px",
        label_standoff=4,
        glyph_width=16,
        glyph_height=16,
        spacing=14,
        padding=2,
        margin=0,
    )


class LevelPlot:
    """Time from left to right, levels from top to bottom, a bar for each task and each stage."""

    _COLUMNS = (
        *("left", "right", "top", "bottom", "color", "alpha", "line", "width"),
        *("what", "level", "cycle", "steps", "worker", "duration", "phi"),
    )

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = _empty(*self._COLUMNS, name="mgrit-bars")
        self.marks = _empty("x", "text")
        self.x_range, self.y_range = Range1d(0, 1), Range1d(1, 0)
        plot = _figure(
            "Level traversal",
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
                tooltips=[
                    ("", "@what"),
                    ("level", "@level"),
                    ("cycle", "@cycle"),
                    ("steps", "@steps"),
                    ("worker", "@worker"),
                    ("duration", "@duration"),
                    ("of that Phi", "@phi"),
                ],
            )
        )
        plot.ray(
            x="x", y=0, length=0, angle=math.pi / 2, line_color=_GREY, line_dash="dotted", line_alpha=0.7,
            source=self.marks,
        )  # fmt: skip
        plot.text(
            x="x", y=-0.46, text="text", x_offset=3, text_font_size="11px", text_color=_GREY, text_baseline="bottom",
            source=self.marks,
        )  # fmt: skip
        items = [
            LegendItem(label=name, renderers=[plot.rect([math.nan], [math.nan], 1, 1, color=colour)])
            for name, colour in COLOURS.items()
        ]
        for part in (items[4:], items[:4]) if single else (items,):
            plot.add_layout(_legend(part), "above")
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
        self._move(run)

    def _begin(self, run: Run) -> None:
        self._window, self.run, self.seen, steps = None, run, 0, run.about["steps"]
        self.source.data = {name: [] for name in self._COLUMNS}
        self.y_range.start, self.y_range.end = len(steps) - 1 + 0.55, -0.85
        self.plot.yaxis.ticker = FixedTicker(ticks=list(range(len(steps))))
        self.plot.yaxis.major_label_overrides = {level: f"{level}  (N = {n})" for level, n in enumerate(steps)}
        if self._single:
            self.plot.title.text = f"Level traversal: {run.about['phi']}, {run.about['cycle']}-cycle, N = {steps[0]}"

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
            "not known yet" if math.isnan(bar.phi) else seconds(bar.phi),
        )

    def _move(self, run: Run) -> None:
        """Let the time axis follow the run."""
        window = self.window.active or 0
        if _WINDOWS[window] == "hold still" or not run.bars:
            return
        stop = max(bar.stop for bar in list(run.bars)[-50:]) - run.started
        cycles = sorted(run.begun)
        first = cycles[-3] if _WINDOWS[window] == "last 3 cycles" and len(cycles) > 3 else cycles[0]
        start = run.begun[first] - run.started
        # Where nothing is new, the user may look about.
        if self._window == (window, start, stop):
            return
        self._window = window, start, stop
        margin = 0.01 * (stop - start)
        self.x_range.update(
            start=start - margin, end=stop + margin, reset_start=start - margin, reset_end=stop + margin
        )
        marks: dict[str, list[Any]] = {"x": [], "text": []}
        for cycle in cycles[cycles.index(first) :]:
            x = run.begun[cycle] - run.started
            if not marks["x"] or x - marks["x"][-1] > 0.07 * (stop - start):  # as wide as the words
                marks["x"].append(x)
                marks["text"].append(f"cycle {cycle}" if cycle else "initial guess")
        self.marks.data = marks


class CyclePlot:
    """The path of the current cycle through the levels, filled as its tasks are done."""

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.path = _empty("x", "y", "color", "whole", "size", "ring", "what", "done")
        self.y_range = Range1d(1, 0)
        plot = _figure("Current cycle", y_range=self.y_range, y_axis_label="level", **options)
        plot.xaxis.visible = plot.xgrid.visible = False
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
        levels = len(run.about["steps"])
        cycle, place, share = where(run)
        path = run.path(cycle)
        at = next((i for i, stage in enumerate(path) if stage.waiting), None) if run.ended is None else None
        whole = min(max(380 / max(len(path), 1), 8), 20)  # F-cycles are long
        shares = [stage.done / stage.tasks if stage.tasks else 0.0 for stage in path]
        colours = [COLOURS[kind(stage.name, True)] for stage in path]
        self.path.data = {
            "x": list(range(len(path))),
            "y": [stage.level for stage in path],
            "color": ["#888888" if colour == COLOURS[MANY_LEVELS] else colour for colour in colours],
            "whole": [whole] * len(path),
            "size": [0.8 * whole * math.sqrt(share) for share in shares],
            "ring": ["black" if i == at else "#999999" for i in range(len(path))],
            "what": [f"{does(stage.name, True)} ({direction(stage.name)}, level {stage.level})" for stage in path],
            "done": [f"{stage.done} of {stage.tasks}" for stage in path],
        }
        self.y_range.start, self.y_range.end = levels - 0.5, -0.5
        self.plot.yaxis.ticker = FixedTicker(ticks=list(range(levels)))
        if cycle is None:
            self.plot.title.text = "Current cycle"
        elif run.ended is not None:
            self.plot.title.text = f"Cycle {cycle}, the last" if cycle else "Initial guess"
        else:
            self.plot.title.text = f"Cycle {cycle}: {place}, {share:.0%} of its tasks done"


class ResidualPlot:
    """The residual after each cycle, on a log axis, and the tolerance."""

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.points = _empty("x", "y", name="mgrit-residuals")
        self.zeros, self.tol = _empty("x", "y"), _empty("x", "y")
        self.y_range = Range1d(0.1, 1)
        plot = _figure("Residual", y_axis_type="log", y_range=self.y_range, x_axis_label="cycle", **options)
        plot.axis.minor_tick_line_color = None
        plot.xaxis.ticker = BasicTicker(min_interval=1)
        plot.line("x", "y", source=self.points, color="#0072B2", line_width=2)
        dots = plot.scatter("x", "y", source=self.points, size=8, color="#0072B2", name="residuals")
        none = plot.scatter("x", "y", source=self.zeros, size=10, color="#009E73", marker="inverted_triangle")
        plot.line("x", "y", source=self.tol, color="#D55E00", line_dash="dashed", line_width=2)
        plot.text(
            "x", "y", text="text", source=ColumnDataSource({"x": [], "y": [], "text": []}), name="tolerance",
            text_color="#B34700", text_font_size="12px", text_baseline="bottom", y_offset=-2,
        )  # fmt: skip
        self.words = plot.select_one({"name": "tolerance"}).data_source
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("cycle", "@x"), ("residual", "@y{0.000e+0}")]))
        plot.add_tools(HoverTool(renderers=[none], tooltips=[("cycle", "@x"), ("residual", "0")]))
        self.root = self.plot = plot
        self.shown: tuple[int, int] | None = None

    def show(self, run: Run) -> None:
        """Show a run."""
        count = len(run.residuals) and run.residuals[-1][0] + 1
        if self.shown == (id(run), count):
            return
        self.shown = id(run), count
        tol = run.about["tol"]
        finite = [(cycle, value) for cycle, value in run.residuals if math.isfinite(value)]
        positive = [(cycle, value) for cycle, value in finite if value > 0]
        zeros = [cycle for cycle, value in finite if value == 0]
        # A log axis has no zero: it is marked below all else.
        floor = min([value for _, value in positive] + [tol] * (tol > 0), default=1.0) / 10
        self.points.data = {"x": [cycle for cycle, _ in positive], "y": [value for _, value in positive]}
        self.zeros.data = {"x": zeros, "y": [floor] * len(zeros)}
        values = [value for _, value in positive] + [floor] * bool(zeros) + [tol] * (tol > 0)
        if values:
            self.y_range.start = 10.0 ** math.floor(math.log10(min(values)) - 0.2)
            self.y_range.end = 10.0 ** math.ceil(math.log10(max(values)) + 0.1)
        end = max([cycle for cycle, _ in finite], default=0)
        first = min([cycle for cycle, _ in finite], default=0)
        self.tol.data = {"x": [first, max(end, first + 1)], "y": [tol, tol]} if tol > 0 else {"x": [], "y": []}
        self.words.data = {"x": [first], "y": [tol], "text": [f"tolerance {tol:.1e}"]} if tol > 0 else {
            "x": [], "y": [], "text": []
        }  # fmt: skip


class PhiPlot:
    """Where the workers' time went, by the level of the tasks: Phi, the rest of the tasks, transfers."""

    _PARTS = (("Phi", "#0072B2", None), ("rest of the tasks", "#C0C0C0", None), ("transfers", "#FFFFFF", "/"))

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = _empty("y", "all", "percent", *(name for name, _, _ in self._PARTS))
        self.y_range, self.x_range = Range1d(1, 0), Range1d(0, 1)
        plot = _figure(
            "Phi and overhead, by level of the task",
            y_range=self.y_range,
            x_range=self.x_range,
            x_axis_label="seconds of worker time in cycles with known residual",
            y_axis_label="level",
            **options,
        )
        plot.ygrid.visible = False
        bars = plot.hbar_stack(
            [name for name, _, _ in self._PARTS],
            y="y",
            height=0.7,
            source=self.source,
            fill_color=[colour for _, colour, _ in self._PARTS],
            line_color="#666666",
            line_width=0.5,
            hatch_pattern=[hatch for _, _, hatch in self._PARTS],
            hatch_color="#666666",
            hatch_alpha=0.6,
        )
        plot.text(
            "all", "y", text="percent", source=self.source, x_offset=5, text_baseline="middle", text_font_size="11px"
        )
        items = [LegendItem(label=name, renderers=[bar]) for (name, _, _), bar in zip(self._PARTS, bars, strict=True)]
        plot.add_layout(_legend(items), "above")
        tips = [("level", "@y")] + [(name, f"@{{{name}}}{{0.000}} s") for name, _, _ in self._PARTS]
        plot.add_tools(HoverTool(renderers=list(bars), tooltips=tips))
        self.root = self.plot = plot
        self.shown: tuple[int, int] | None = None

    def show(self, run: Run) -> None:
        """Show a run."""
        count = len(run.residuals) and run.residuals[-1][0] + 1
        if self.shown == (id(run), count):
            return
        self.shown = id(run), count
        last = len(run.about["steps"]) - 1
        rows = [(level, total) for level, total in enumerate(run.totals) if sum(total)]
        data: dict[str, list[Any]] = {"y": [level for level, _ in rows], "all": [sum(total) for _, total in rows]}
        data["percent"] = [f"Phi {total[0] / sum(total):.0%}" for _, total in rows]
        for i, (name, _, _) in enumerate(self._PARTS):
            data[name] = [total[i] for _, total in rows]
        self.source.data = data
        deepest = max((level for level, _ in rows), default=0)
        self.y_range.start, self.y_range.end = deepest + 0.5, -0.5
        self.x_range.start, self.x_range.end = 0, 1.25 * max(data["all"], default=1.0)
        self.plot.yaxis.ticker = FixedTicker(ticks=list(range(deepest + 1)))
        gathered = run.gathered
        labels = {level: str(level) for level in range(deepest + 1)}
        if gathered < last:
            labels[gathered] = f"{gathered} to {last}"
        self.plot.yaxis.major_label_overrides = labels
