"""The page ``/mgrit``, its entry in the navigation bar, and its single plots for JupyterLab."""

from __future__ import annotations

from functools import partial
from typing import Any

from daskmgrit.dashboard.groups import group_layout
from daskmgrit.dashboard.history import History
from daskmgrit.utils.private_api import list_too, place_groups

__all__ = ["NoPage", "history_of", "install"]

_EXTENSION = "daskmgrit-history"


class NoPage(RuntimeError):
    """The scheduler has no dashboard that a page could be added to."""


def history_of(scheduler: Any) -> History:
    """Return the scheduler's history of its last runs."""
    history: History = scheduler.extensions.setdefault(_EXTENSION, History())
    return history


def install(scheduler: Any) -> None:
    """Add the page to a scheduler's dashboard if it is missing.

    Raises
    ------
    NoPage
        If there is no dashboard.
    """
    if _EXTENSION in scheduler.extensions:
        return
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard.core import BokehApplication
        from distributed.dashboard.scheduler import template_variables
    except ImportError as error:
        raise NoPage(f"the scheduler cannot import bokeh ({error}); install it there") from error
    web = getattr(scheduler, "http_application", None)
    dask_pages = next((app for app in getattr(web, "applications", ()) if isinstance(app, BokehTornado)), None)
    if web is None or dask_pages is None:
        raise NoPage("the scheduler was started without its dashboard")

    from distributed.dashboard.components.scheduler import TaskGroupGraph
    from tornado.ioloop import IOLoop

    from daskmgrit.dashboard.documents import mgrit_document, single_documents

    place_groups(TaskGroupGraph, group_layout)
    singles = single_documents()
    history = history_of(scheduler)
    documents = {"/mgrit": partial(mgrit_document, history)}
    documents |= {f"/individual-mgrit-{name}": partial(draw, history) for name, draw in singles.items()}
    variables = template_variables(scheduler)
    pages = BokehApplication(
        {path: _document(draw) for path, draw in documents.items()},
        scheduler,
        prefix=dask_pages.prefix,
        template_variables=variables,
    )
    web.add_application(pages)
    pages.initialize(IOLoop.current())
    pages.start()
    # The navigation bar and the menu "More..." of every page are made from these lists.
    variables["pages"].insert(1, "mgrit")
    plots = variables["plots"]
    plots += [{"url": f"individual-mgrit-{name}", "name": f"MGRIT {name.title()}"} for name in singles]
    plots.sort(key=lambda plot: str(plot["name"]))
    # JupyterLab's extension lists the plots of Dask's own application only.
    list_too(dask_pages, {path: context for path, context in pages.applications.items() if path != "/mgrit"})


def _document(draw: Any) -> Any:
    """Return the function that Dask calls to make a document; the scheduler and template variables come first."""

    def modify(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
        draw(doc, extra)

    return modify
