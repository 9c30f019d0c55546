"""The scheduler's side: a plug-in for each solve in progress, which follows its tasks and its client."""

from __future__ import annotations

from time import time
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from daskmgrit.dashboard.events import CHANNEL, TaskName, read_key
from daskmgrit.dashboard.history import History, Run
from daskmgrit.dashboard.page import history_of, install
from daskmgrit.dashboard.run import AnyRun
from daskmgrit.dashboard.window_run import WindowRun

__all__ = ["MgritPlugin", "attach"]


class MgritPlugin(SchedulerPlugin):
    """Follows one solve. It is removed when the solve or its client ends; the page keeps the data.

    Parameters
    ----------
    about : dict
        See :func:`daskmgrit.dashboard.events.describe` and
        :func:`daskmgrit.dashboard.window_events.describe_window`.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self.name = f"{CHANNEL}-{about['run']}"
        self.about = about

    def attach(self, scheduler: Any) -> None:
        """Start to listen.

        Raises
        ------
        NoPage
            If the scheduler has no dashboard.
        """
        install(scheduler)
        scheduler.handlers.setdefault(CHANNEL, _receiver(scheduler))
        kind = WindowRun if "window" in self.about else Run
        self.scheduler: Any = scheduler
        self.run: AnyRun = kind(self.about, time(), max(scheduler.total_nthreads, 1))
        history: History = history_of(scheduler)
        history.add(self.run)
        scheduler.add_plugin(self, name=self.name)

    # -- what the scheduler tells ----------------------------------------------------------------------------------

    def update_graph(self, scheduler: Any, *, client: str, tasks: list[Any], **others: Any) -> None:
        """Record new tasks."""
        if client == self.about["client"]:
            names = [read_key(key, self.about["run"]) for key in tasks]
            self.run.submitted(name for name in names if name is not None)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Record tasks that end."""
        if finish != "memory" or start != "processing":
            return
        name: TaskName | None = read_key(key, self.about["run"])
        if name is None:
            return
        spans: dict[str, tuple[float, float]] = {}
        transfer = 0.0
        for span in kwargs.get("startstops") or ():
            spans[span["action"]] = span["start"], span["stop"]
            if span["action"] == "transfer":
                transfer += span["stop"] - span["start"]
        if "compute" in spans:
            self.run.task(name, str(kwargs.get("worker", "")), *spans["compute"], transfer)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """End if the solve's client leaves."""
        if client == self.about["client"]:
            self.end("client lost", "")

    # -- what the client tells -------------------------------------------------------------------------------------

    def hear(self, events: list[dict[str, Any]]) -> None:
        """Process an event of the client; events arrive in order."""
        for event in events:
            for told in self.run.hear(event):
                self.scheduler.log_event(CHANNEL, told | {"run": self.about["run"]})
            if "end" in event:
                self.end(event["end"], event["message"])

    def end(self, state: str, message: str) -> None:
        """Stop listening."""
        self.run.end(state, message, time())
        self.scheduler.plugins.pop(self.name, None)


def _receiver(scheduler: Any) -> Any:
    def receive(run: str, events: list[dict[str, Any]]) -> bool:
        plugin = scheduler.plugins.get(f"{CHANNEL}-{run}")
        if plugin is None:
            return False
        try:
            plugin.hear(events)
        except Exception as error:
            plugin.end("not followed any more", repr(error))
            raise
        return True

    return receive


def attach(scheduler: Any, about: dict[str, Any]) -> None:
    """Listen to a solve that is about to begin."""
    MgritPlugin(about).attach(scheduler)
