"""The documents that a browser is given: a section for each run, or a single plot of the newest."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from bokeh.core.property.validation import validate
from bokeh.layouts import column, row
from bokeh.models import Div, Select
from distributed.dashboard.components import DashboardComponent, add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env

from daskmgrit.dashboard.history import History, Run
from daskmgrit.dashboard.labels import HOW_TO_READ, NO_RUN, headline, label
from daskmgrit.dashboard.plots import CyclePlot, LevelPlot, PhiPlot, ResidualPlot

__all__ = ["mgrit_document", "single_documents"]

logger = logging.getLogger("daskmgrit")

_PERIOD = 300  # milliseconds between looks at what is new
_SHOWN = 3  # runs shown under each other
_LATEST = "latest"


class _Section:
    """One run on the page."""

    def __init__(self) -> None:
        self.head = Div(name="mgrit-headline", sizing_mode="stretch_width", styles={"margin-top": "6px"})
        self.levels = LevelPlot(height=390, sizing_mode="stretch_width")
        small: dict[str, Any] = {"height": 270, "sizing_mode": "stretch_width"}
        self.below: list[Any] = [CyclePlot(**small), ResidualPlot(**small), PhiPlot(**small)]
        self.root = column(
            row(self.head, self.levels.window, sizing_mode="stretch_width"),
            self.levels.root,
            row(*(plot.root for plot in self.below), sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def show(self, run: Run) -> None:
        text = headline(run)
        if self.head.text != text:
            self.head.text = text
        self.levels.show(run)
        for plot in self.below:
            plot.show(run)


class _Live(DashboardComponent, ABC):
    """Something that is drawn anew from time to time."""

    failed = False

    def update(self) -> None:
        """Draw what is new. An error that left a callback would disturb Bokeh's other documents in this process."""
        try:
            # Dask's periodic callbacks go without Bokeh's checks, which also turn a new plot's strings into models.
            with validate(True):
                self.draw()
        except Exception:
            if not self.failed:
                self.failed = True
                logger.exception("the page /mgrit cannot be drawn")

    @abstractmethod
    def draw(self) -> None:
        """Bring it up to date."""


class _Page(_Live):
    """All that the page shows; each browser has its own."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.select = Select(title="", options=[_LATEST], value=_LATEST, width=520)
        self.select.on_change("value", lambda name, old, new: self.update())
        self.note = Div(text=NO_RUN, sizing_mode="stretch_width")
        self.help = Div(text=HOW_TO_READ, sizing_mode="stretch_width")
        self.sections: dict[str, _Section] = {}
        self.body = column(self.note, sizing_mode="stretch_width")
        self.root = column(
            row(self.select, self.help, sizing_mode="stretch_width"), self.body, sizing_mode="stretch_width"
        )

    def draw(self) -> None:
        runs = list(self.history.runs)
        options = [(_LATEST, f"the last {_SHOWN} solves, newest first"), *((r.about["run"], label(r)) for r in runs)]
        if self.select.options != options:
            self.select.options = options
        chosen = [run for run in runs if run.about["run"] == self.select.value] or runs[:_SHOWN]
        names = [run.about["run"] for run in chosen]
        if list(self.sections) != names:
            self.sections = {name: self.sections.get(name) or _Section() for name in names}
        for run in chosen:
            self.sections[run.about["run"]].show(run)
        children = [section.root for section in self.sections.values()] or [self.note]
        if self.body.children != children:
            self.body.children = children


class _Single(_Live):
    """One plot, of the newest run."""

    def __init__(self, history: History, make: Callable[..., Any]) -> None:
        self.history, self.plot = history, make(sizing_mode="stretch_both", single=True)
        self.root = self.plot.root

    def draw(self) -> None:
        run = self.history.newest()
        if run is not None:
            self.plot.show(run)


def _put(doc: Any, component: Any, title: str) -> None:
    component.update()
    add_periodic_callback(doc, component, _PERIOD)
    doc.add_root(component.root)
    doc.theme = BOKEH_THEME
    doc.title = title


def mgrit_document(history: History, doc: Any, extra: dict[str, Any]) -> None:
    """Make the page."""
    _put(doc, _Page(history), "Dask: MGRIT")
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)


def _single_document(make: Callable[..., Any], name: str, history: History, doc: Any, extra: dict[str, Any]) -> None:
    _put(doc, _Single(history, make), f"Dask: MGRIT {name}")


def single_documents() -> dict[str, Callable[[History, Any, dict[str, Any]], None]]:
    """Return what makes the document of each plot, by its name."""
    plots = {"levels": LevelPlot, "cycle": CyclePlot, "residual": ResidualPlot, "phi": PhiPlot}
    return {name: partial(_single_document, make, name) for name, make in plots.items()}
