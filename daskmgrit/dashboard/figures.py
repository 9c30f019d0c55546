"""Parts of all plots of the page: a figure, its ticks, an empty source, a legend."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, Legend, LegendItem, Line, Rect
from bokeh.plotting import figure

__all__ = ["GREY", "box_key", "empty", "fixed_ticks", "legend", "line_key", "new_figure"]

GREY = "#666666"


def new_figure(title: str, tools: str = "", **options: Any) -> Any:
    """Return a figure; one without tools has no toolbar."""
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


def fixed_ticks(plot: Any) -> FixedTicker:
    """Return the ticker of a plot's vertical axis, whose `ticks` are to be set.

    With a new ticker for each update Bokeh would visit all models of the page again, on the scheduler's event loop.
    """
    plot.yaxis.ticker = ticker = FixedTicker(ticks=[])
    return ticker


def empty(*names: str, **options: Any) -> ColumnDataSource:
    """Return a source whose columns have these names."""
    return ColumnDataSource({name: [] for name in names}, **options)


def legend(items: list[Any]) -> Legend:
    """Return a legend in a line, to be put above a plot."""
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


def box_key(plot: Any, label: str, color: str, **style: Any) -> LegendItem:
    """Return a box for the legend. It has its own glyph because a glyph without data has no colour there."""
    style = {"fill_color": color, "line_color": color} | style
    return _key(plot, label, Rect(x="x", y="x", width=1, height=1, **style))


def line_key(plot: Any, label: str, color: str) -> LegendItem:
    """Return a line for the legend, likewise."""
    return _key(plot, label, Line(x="x", y="x", line_width=2, line_color=color))


def _key(plot: Any, label: str, glyph: Any) -> LegendItem:
    # The methods of a figure make four more glyphs each, for what is chosen or not, which takes ten times as long.
    return LegendItem(label=label, renderers=[plot.add_glyph(ColumnDataSource({"x": [math.nan]}), glyph)])
