"""The documents for a browser: a section for each run, or a single plot of the newest."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bokeh.core.property.validation import validate
from bokeh.layouts import column, row
from bokeh.models import Div, Select
from distributed.dashboard.components import DashboardComponent, add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env

from daskmgrit.dashboard.history import History, Run
from daskmgrit.dashboard.labels import NO_RUN, headline, how_to_read, label
from daskmgrit.dashboard.plots import CyclePlot, LevelPlot
from daskmgrit.dashboard.run import AnyRun
from daskmgrit.dashboard.shared_plots import PhiPlot, ResidualPlot
from daskmgrit.dashboard.window_plots import AcceptedPlot, WindowPlot
from daskmgrit.dashboard.window_run import WindowRun

__all__ = ["mgrit_document", "single_documents"]

logger = logging.getLogger("daskmgrit")

_PERIOD = 300  # milliseconds between looks at what is new
_SHARE = 0.1  # of the scheduler's event loop that a browser's page takes, unless it then pauses too long
_LONGEST_PAUSE = 2.0  # seconds
_SHOWN = 3  # runs shown under each other
_LATEST = "latest"

# Dask's navigation bar hides what is below it where it is too narrow for one line.
_TEMPLATE = """{% extends "simple.html" %}
{% block extra_resources %}
<style>
  body { padding-top: 0; }
  .content { height: auto; }
  .navbar { position: sticky; margin: 0 -10px 6px -10px; }
</style>
{% endblock %}
"""


# The large plot takes the height that the rest of the page leaves, so that bars are no thinner than they need be.
_AS_TALL_AS_FITS = {"min-height": "calc(100vh - 460px)"}


class _Section:
    """One run on the page: a large plot, and three small ones below."""

    def __init__(self, large: type[Any], small: Sequence[type[Any]]) -> None:
        self.head = Div(name="mgrit-headline", sizing_mode="stretch_width", styles={"margin-top": "6px"})
        self.large = large(height=390, sizing_mode="stretch_width", styles=_AS_TALL_AS_FITS)
        self.below: list[Any] = [plot(height=270, sizing_mode="stretch_width") for plot in small]
        self.root = column(
            row(self.head, self.large.window, sizing_mode="stretch_width"),
            self.large.root,
            row(*(plot.root for plot in self.below), sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def show(self, run: AnyRun) -> None:
        text = headline(run)
        if self.head.text != text:
            self.head.text = text
        self.large.show(run)
        for plot in self.below:
            plot.show(run)


def _section(run: AnyRun) -> _Section:
    """Return the section that shows a run of this method."""
    if isinstance(run, WindowRun):
        return _Section(WindowPlot, (AcceptedPlot, ResidualPlot, PhiPlot))
    return _Section(LevelPlot, (CyclePlot, ResidualPlot, PhiPlot))


class _Live(DashboardComponent, ABC):
    """A component that is redrawn periodically."""

    failed = False
    rests_until = 0.0

    def update(self) -> None:
        """Draw the news, unless that was done recently in view of what it takes: solves need the event loop, too."""
        if time.monotonic() >= self.rests_until:
            begin = time.thread_time()
            self.draw_safely()
            pause = (time.thread_time() - begin) * (1 / _SHARE - 1)
            self.rests_until = time.monotonic() + min(pause, _LONGEST_PAUSE)

    def draw_safely(self) -> None:
        """Draw the news. An error that left a callback would disturb Bokeh's other documents in this process."""
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
        """Bring the component up to date."""


class _Page(_Live):
    """The content of the page; each browser has its own."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.select = Select(title="", options=[_LATEST], value=_LATEST, width=520)
        self.select.on_change("value", lambda name, old, new: self.draw_safely())
        self.note = Div(text=NO_RUN, sizing_mode="stretch_width")
        self.help = Div(sizing_mode="stretch_width")
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
            self.sections = {
                name: self.sections.get(name) or _section(run) for name, run in zip(names, chosen, strict=True)
            }
        text = how_to_read({type(run) for run in chosen} or {Run})
        if self.help.text != text:
            self.help.text = text
        for run in chosen:
            self.sections[run.about["run"]].show(run)
        children = [section.root for section in self.sections.values()] or [self.note]
        if self.body.children != children:
            self.body.children = children


class _Single(_Live):
    """One plot of the newest run that has it."""

    def __init__(self, history: History, make: Callable[..., Any], kind: type[AnyRun] = AnyRun) -> None:
        self.history, self.plot, self.kind = history, make(sizing_mode="stretch_both", single=True), kind
        self.root = self.plot.root

    def draw(self) -> None:
        run = self.history.newest(self.kind)
        if run is not None:
            self.plot.show(run)


def _put(doc: Any, component: Any, title: str) -> None:
    component.draw_safely()
    add_periodic_callback(doc, component, _PERIOD)
    doc.add_root(component.root)
    doc.theme = BOKEH_THEME
    doc.title = title


def mgrit_document(history: History, doc: Any, extra: dict[str, Any]) -> None:
    """Make the page."""
    _put(doc, _Page(history), "Dask: MGRIT and parallel Newton")
    doc.template = env.from_string(_TEMPLATE)
    doc.template_variables.update(extra)


def _single_document(
    make: Callable[..., Any], kind: type[AnyRun], name: str, history: History, doc: Any, extra: dict[str, Any]
) -> None:
    _put(doc, _Single(history, make, kind), f"Dask: MGRIT {name}")


def single_documents() -> dict[str, Callable[[History, Any, dict[str, Any]], None]]:
    """Return the function that makes the document of each plot, by its name."""
    plots: dict[str, tuple[Callable[..., Any], type[AnyRun]]] = {
        "levels": (LevelPlot, Run),
        "cycle": (CyclePlot, Run),
        "window": (WindowPlot, WindowRun),
        "accepted": (AcceptedPlot, WindowRun),
        "residual": (ResidualPlot, AnyRun),
        "phi": (PhiPlot, AnyRun),
    }
    return {name: partial(_single_document, make, kind, name) for name, (make, kind) in plots.items()}
