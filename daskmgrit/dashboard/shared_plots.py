"""The plots that runs of all methods have: residuals, and Phi against overhead."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, Range1d

from daskmgrit.dashboard.figures import box_key, empty, fixed_ticks, legend, line_key, new_figure
from daskmgrit.dashboard.run import AnyRun

__all__ = ["PhiPlot", "ResidualPlot"]

_MARKS = 40  # of residuals that are exactly 0


class ResidualPlot:
    """The residual of each cycle, or of each sweep's window and all accepted steps, on a log axis; the tolerance."""

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.points = empty("x", "y", name="mgrit-residuals")
        self.accepted = empty("x", "y")
        self.zeros, self.tol = empty("x", "y", name="mgrit-zeros"), empty("x", "y")
        self.y_range = Range1d(0.1, 1)
        plot = new_figure("Residual", y_axis_type="log", y_range=self.y_range, x_axis_label="cycle", **options)
        plot.axis.minor_tick_line_color = None
        plot.xaxis.ticker = BasicTicker(min_interval=1)
        plot.line("x", "y", source=self.points, color="#0072B2", line_width=2)
        below = plot.line("x", "y", source=self.accepted, color="#009E73", line_width=2)
        plot.scatter("x", "y", source=self.accepted, size=5, color="#009E73")
        self.legend = legend(
            [
                line_key(plot, "window", color="#0072B2"),
                line_key(plot, "accepted steps", color="#009E73"),
            ]
        )
        plot.add_layout(self.legend, "above")
        dots = plot.scatter("x", "y", source=self.points, size=8, color="#0072B2", name="residuals")
        none = plot.scatter("x", "y", source=self.zeros, size=10, color="#009E73", marker="inverted_triangle")
        plot.line("x", "y", source=self.tol, color="#D55E00", line_dash="dashed", line_width=2)
        plot.text(
            "x", "y", text="text", source=ColumnDataSource({"x": [], "y": [], "text": []}), name="tolerance",
            text_color="#B34700", text_font_size="12px", text_baseline="bottom", y_offset=-2,
        )  # fmt: skip
        self.words = plot.select_one({"name": "tolerance"}).data_source
        self.hovers = [HoverTool(renderers=[dots, below]), HoverTool(renderers=[none])]
        plot.add_tools(*self.hovers)
        self.root = self.plot = plot
        self.shown: tuple[int, int] | None = None

    def show(self, run: AnyRun) -> None:
        """Show a run."""
        count = len(run.residuals) and run.residuals[-1][0] + 1
        if self.shown == (id(run), count):
            return
        self.shown = id(run), count
        tol = run.about["tol"]
        self._name(run.counts, bool(run.accepted_residuals))
        finite = [(cycle, value) for cycle, value in run.shown_residuals() if math.isfinite(value)]
        positive = [(cycle, value) for cycle, value in finite if value > 0]
        accepted = [(cycle, value) for cycle, value in run.accepted_residuals if value > 0]
        # With tol=0 accepted steps have a residual of exactly 0.
        exact = [] if tol else [cycle for cycle, value in run.accepted_residuals if value == 0]
        exact = exact[:: max(len(exact) // _MARKS, 1)]
        zeros = [cycle for cycle, value in finite if value == 0] + exact
        # A log axis has no zero: it is marked below all else.
        above = [value for _, value in (*positive, *accepted)] + [tol] * (tol > 0)
        floor = min(above, default=1.0) / 10
        self.points.data = {"x": [cycle for cycle, _ in positive], "y": [value for _, value in positive]}
        self.accepted.data = {"x": [cycle for cycle, _ in accepted], "y": [value for _, value in accepted]}
        self.zeros.data = {"x": zeros, "y": [floor] * len(zeros)}
        values = above + [floor] * bool(zeros)
        self.plot.yaxis.visible = bool(above) or not zeros
        self.plot.title.text = "Residual" if self.plot.yaxis.visible else "Residual: exactly 0"
        if values:
            self.y_range.start = 10.0 ** math.floor(math.log10(min(values)) - 0.2)
            # The tolerance alone has no room of its own.
            self.y_range.end = 10.0 ** math.ceil(math.log10(max(values)) + (0.1 if positive else 3))
        end = max([cycle for cycle, _ in finite], default=0)
        first = min([cycle for cycle, _ in finite], default=0)
        self.tol.data = {"x": [first, max(end, first + 1)], "y": [tol, tol]} if tol > 0 else {"x": [], "y": []}
        self.words.data = {"x": [first], "y": [tol], "text": [f"tolerance {tol:.1e}"]} if tol > 0 else {
            "x": [], "y": [], "text": []
        }  # fmt: skip

    def _name(self, counts: str, of_steps: bool) -> None:
        """Label the axis, and the lines if there are two."""
        self.plot.xaxis.axis_label = counts
        self.legend.visible = of_steps
        for hover, value in zip(self.hovers, ("@y{0.000e+0}", "0"), strict=True):
            hover.tooltips = [(counts, "@x"), ("residual", value)]


class PhiPlot:
    """Shares of the workers' time, by level or name of the tasks: Phi, the rest of the tasks, transfers, waiting."""

    _PARTS = (
        ("Phi", "#0072B2", None),
        ("rest of the tasks", "#C0C0C0", None),
        ("transfers", "#FFFFFF", "/"),
        ("waiting", "#FFFFFF", "."),
    )

    def __init__(self, single: bool = False, **options: Any) -> None:
        self.source = empty("y", "name", "all", "percent", *(name for name, _, _ in self._PARTS))
        self.y_range, self.x_range = Range1d(1, 0), Range1d(0, 1)
        plot = new_figure(
            "Phi and overhead",
            y_range=self.y_range,
            x_range=self.x_range,
            x_axis_label="seconds, all worker threads",
            **options,
        )
        plot.ygrid.visible = False
        self.rows = fixed_ticks(plot)
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
        style = {"line_color": "#666666", "hatch_color": "#666666", "hatch_alpha": 0.6}
        items = [
            box_key(plot, name.partition(" ")[0], color=colour, hatch_pattern=hatch, **style)
            for name, colour, hatch in self._PARTS
        ]
        plot.add_layout(legend(items), "above")
        self._waiting = items[-1]
        tips = [("", "@name")] + [(name, f"@{{{name}}}{{0.000}} s") for name, _, _ in self._PARTS]
        plot.add_tools(HoverTool(renderers=list(bars), tooltips=tips))
        self.root = self.plot = plot
        self.shown: tuple[int, int] | None = None

    def show(self, run: AnyRun) -> None:
        """Show a run."""
        count = len(run.residuals) and run.residuals[-1][0] + 1
        if self.shown == (id(run), count):
            return
        self.shown = id(run), count
        shares, by = run.shares(), run.shares_by
        data: dict[str, list[Any]] = {
            "y": list(range(len(shares))),
            "name": [f"{by} {name}" if by == "level" else name for name, _ in shares],
            "all": [sum(share) for _, share in shares],
            "percent": [f"Phi {share[0] / sum(share):.0%}" if share[0] else "" for _, share in shares],
        }
        for i, (name, _, _) in enumerate(self._PARTS):
            data[name] = [share[i] for _, share in shares]
        self.source.data = data
        self._waiting.visible = any(share[3] for _, share in shares)
        rows = max(len(shares), 1)
        self.y_range.start, self.y_range.end = rows - 0.5, -0.5
        self.x_range.start, self.x_range.end = 0, 1.4 * max(data["all"], default=1.0)
        self.plot.title.text = f"Phi and overhead, by {by}" if shares else f"Phi and overhead, after a {run.counts}"
        self.rows.ticks = data["y"]
        self.plot.yaxis.major_label_overrides = {row: name for row, (name, _) in enumerate(shares)}
        self.plot.yaxis.axis_label = by
