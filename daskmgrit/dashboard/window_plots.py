"""The plots of a parallel Newton run: the window as it moves over the steps, and the steps that each sweep accepts."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import BasicTicker, HoverTool, RadioButtonGroup, Range1d

from daskmgrit.dashboard.figures import GREY, box_key, empty, legend, line_key, new_figure
from daskmgrit.dashboard.labels import last_of, number_of, seconds
from daskmgrit.dashboard.window_events import SweepRow
from daskmgrit.dashboard.window_run import SWEEPS, WindowRun
from daskmgrit.display.colours import ACCEPTED, WINDOW

__all__ = ["AcceptedPlot", "WindowPlot"]

_LAST = 40  # rows
_WINDOWS = [f"last {_LAST} sweeps", "whole run", "hold still"]


class WindowPlot:
    """Time from left to right, training steps from bottom to top, a band for the window of each sweep."""

    _COLUMNS = (
        *("left", "right", "bottom", "top", "accepted", "sweep", "window", "steps"),
        *("residual", "duration", "phi"),
    )

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = empty(*self._COLUMNS, name="mgrit-sweeps")
        self.x_range, self.y_range = Range1d(0, 1), Range1d(0, 1)
        self._title = "Window over the training steps"
        plot = new_figure(
            self._title,
            "xpan,xwheel_zoom,box_zoom,reset,save",
            x_range=self.x_range,
            y_range=self.y_range,
            x_axis_label="seconds since the solve began",
            y_axis_label="training step",
            output_backend="canvas",
            **options,
        )
        plot.toolbar.autohide = not single
        plot.yaxis.ticker = BasicTicker(min_interval=1)
        band = {"left": "left", "right": "right", "source": self.source, "line_width": 0.5}
        window = plot.quad(bottom="bottom", top="top", fill_color=WINDOW, line_color=WINDOW, fill_alpha=0.45, **band)
        plot.quad(bottom="bottom", top="accepted", fill_color=ACCEPTED, line_color=ACCEPTED, **band)
        plot.add_tools(
            HoverTool(
                renderers=[window],
                tooltips=[
                    ("sweep", "@sweep"),
                    ("window", "@window"),
                    ("accepted", "@steps"),
                    ("residual", "@residual"),
                    ("duration", "@duration"),
                    ("Phi, all threads", "@phi"),
                ],
            )
        )
        items = [
            box_key(plot, "window of a sweep", color=WINDOW, fill_alpha=0.45),
            box_key(plot, "steps it accepted", color=ACCEPTED),
        ]
        plot.add_layout(legend(items), "above")
        self.plot = plot
        self.window = RadioButtonGroup(labels=_WINDOWS, active=0, align="end", margin=(5, 20, 0, 20))
        self.root, self._single = plot, single
        self.run: WindowRun | None = None
        self.seen = 0
        self._shown: tuple[int, int] | None = None

    def show(self, run: WindowRun) -> None:
        """Show a run."""
        if run is not self.run:
            self.run, self.seen, self._shown = run, 0, None
            self.source.data = {name: [] for name in self._COLUMNS}
            if self._single:
                self._title = f"Window over the training steps: {run.about['phi']}, N = {run.about['steps'][0]}"
        if self.seen != run.count:
            new = [self._row(row, run.started) for row in run.new_rows(self.seen) if math.isfinite(row.start)]
            self.seen = run.count
            self.source.stream({name: [row[i] for row in new] for i, name in enumerate(self._COLUMNS)}, SWEEPS)
        whole = _WINDOWS[self.window.active or 0] == "whole run"
        self.plot.title.text = self._title + (last_of(run.count, SWEEPS) if whole else "")
        self._move(run)

    def _row(self, row: SweepRow, started: float) -> tuple[Any, ...]:
        before = row.sweep - row.sweeps + 1
        return (
            row.start - started,
            row.stop - started,
            row.first,
            row.last,
            row.first + row.accepted,
            f"{before} to {row.sweep}" if row.sweeps > 1 else str(row.sweep),
            f"{number_of(row.slots, 'slot')}, steps {row.first} to {row.last}",
            number_of(row.accepted, "step"),
            f"{row.residual:.3e}" if math.isfinite(row.residual) else "not measured: the tolerance is 0",
            seconds(row.stop - row.start),
            seconds(row.phi),
        )

    def _move(self, run: WindowRun) -> None:
        """Let both axes follow the run."""
        window = self.window.active or 0
        if _WINDOWS[window] == "hold still" or not run.rows or self._shown == (window, run.count):
            return
        self._shown = window, run.count
        rows = list(run.rows)
        shown = [row for row in (rows[-_LAST:] if window == 0 else rows) if math.isfinite(row.start)]
        if not shown:
            return
        left, right = shown[0].start - run.started, max(row.stop for row in shown) - run.started
        low, high = shown[0].first, max(row.last for row in shown)
        across, up = 0.01 * (right - left), 0.04 * (high - low)
        for axis, start, end in (
            (self.x_range, left - across, right + across),
            (self.y_range, low - up, high + up),
        ):
            axis.update(start=start, end=end, reset_start=start, reset_end=end)


class AcceptedPlot:
    """Steps accepted per sweep, and the steps in its window; of many sweeps, means and maxima of neighbours."""

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = empty("x", "y", "steps", name="mgrit-accepted")
        self.y_range = Range1d(0, 1)
        plot = new_figure("Steps accepted", y_range=self.y_range, x_axis_label="sweep", **options)
        plot.xaxis.ticker = BasicTicker(min_interval=1)
        plot.step("x", "steps", source=self.source, color=GREY, line_width=1.5, mode="center")
        plot.line("x", "y", source=self.source, color=ACCEPTED, line_width=1.5)
        dots = plot.scatter("x", "y", source=self.source, color=ACCEPTED, size=5)
        plot.add_layout(
            legend(
                [
                    line_key(plot, "steps accepted", color=ACCEPTED),
                    line_key(plot, "steps in the window", color=GREY),
                ]
            ),
            "above",
        )
        tips = [("sweep", "@x"), ("accepted", "@y{0.0}"), ("in the window", "@steps")]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tips))
        self.root = self.plot = plot
        self.shown: tuple[int, int] | None = None

    def show(self, run: WindowRun) -> None:
        """Show a run."""
        if self.shown == (id(run), run.count):
            return
        self.shown = id(run), run.count
        groups = run.thinned()
        self.source.data = {
            "x": [group[-1].sweep for group in groups],
            "y": [sum(row.accepted for row in group) / sum(row.sweeps for row in group) for group in groups],
            "steps": [max(row.steps for row in group) for group in groups],
        }
        most = max(self.source.data["y"] + self.source.data["steps"], default=1)
        self.y_range.start, self.y_range.end = 0, 1.08 * most
        self.plot.title.text = f"Steps accepted: {run.mean:.2f} per sweep" if groups else "Steps accepted"
