"""The client's side: tells the scheduler of a solve's residuals and stages, and never stands in the solve's way."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import dask

from daskmgrit import planning
from daskmgrit.dashboard.events import CHANNEL, describe, layout_event, stage_rows
from daskmgrit.drive import Drive
from daskmgrit.executor import ClusterExecutor, LocalExecutor
from daskmgrit.layout import cut

__all__ = ["Listener"]

logger = logging.getLogger("daskmgrit")

_PATIENCE = 10.0  # seconds that a message to the scheduler may take
_PERIOD = 0.1  # seconds between messages at least: quick cycles are told together
_told: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def _attach_probe() -> Callable[..., str | None]:
    # A nested function travels by value, so it runs also where the package is missing.
    def attach(about: Any, version: str, dask_scheduler: Any) -> str | None:
        """Return what is missing, if anything is."""
        import importlib

        try:
            importlib.invalidate_caches()  # it may have been installed since this process began
            package = importlib.import_module("daskmgrit")
        except ModuleNotFoundError as error:
            if error.name != "daskmgrit":
                return f"the scheduler has daskmgrit but not {error.name}, which it needs; install it there"
            return (
                f"the scheduler lacks daskmgrit; install version {version} in its environment and start it with "
                "--preload daskmgrit.dashboard, or call client.register_plugin(PipInstall(['daskmgrit']))"
            )
        except Exception as error:
            return f"the scheduler cannot import daskmgrit ({error!r})"
        if package.__version__ != version:
            return f"the scheduler has daskmgrit {package.__version__} and this client {version}; install the same"
        try:
            importlib.import_module("daskmgrit.dashboard.plugin").attach(dask_scheduler, about)
        except Exception as error:
            return str(error) or repr(error)
        return None

    return attach


class Listener:
    """Tells the dashboard of one solve; on a local scheduler, or where there is no dashboard, it does nothing.

    Whatever fails here is logged, once for a client, and the solve goes on.

    Parameters
    ----------
    executor : LocalExecutor or ClusterExecutor
        Where the solve runs.
    drive : Drive
        The solve.
    phi : callable
        The propagator.
    chunks : int or None
        Chunks of level 0 that the user asked for.
    tol : float
        The tolerance.
    maxiter : int
        Most cycles.
    """

    def __init__(
        self,
        executor: LocalExecutor | ClusterExecutor,
        drive: Drive,
        phi: Any,
        chunks: int | None,
        tol: float,
        maxiter: int,
    ) -> None:
        self._drive = drive
        self._events: deque[dict[str, Any]] = deque()
        self._records, self._sent = 0, 0.0
        self._turn: asyncio.Lock | None = None
        self._client: Any = None
        self._on = isinstance(executor, ClusterExecutor) and bool(dask.config.get("daskmgrit.dashboard"))
        if self._on:
            self._begin(executor, phi, chunks, tol, maxiter)

    def _begin(self, executor: Any, phi: Any, chunks: int | None, tol: float, maxiter: int) -> None:
        from daskmgrit import __version__

        drive, self._client = self._drive, executor.client
        try:
            # As the initial guess is cut, before anything is known of the cost of phi.
            wanted = dask.config.get("daskmgrit.agglomerate")
            self._layout = cut(
                drive.hierarchy,
                planning.first_chunks(chunks, drive.hierarchy, executor.threads),
                executor.threads,
                None if wanted == "auto" else max(int(wanted), 1),
            )
            about = describe(drive.run, self._client.id, phi, drive.hierarchy, self._layout, tol, maxiter)
            missing = self._client.run_on_scheduler(_attach_probe(), about, __version__, callback_timeout=_PATIENCE)
        except Exception as error:
            self._fail(error)
        else:
            if missing:
                self._warn(missing)

    def _warn(self, why: str) -> None:
        self._on = False
        told = _told.setdefault(self._client, set())
        if why not in told:
            told.add(why)
            logger.warning("this solve goes on without its page /mgrit on Dask's dashboard: %s", why)

    def _fail(self, error: Exception) -> None:
        """Say so, and let the plug-in go if it can be reached."""
        if not self._on:
            return
        self._warn(repr(error))
        self._events.clear()
        self._events.append({"end": "not followed any more", "message": repr(error)[:500]})
        with suppress(Exception):
            self._client.loop.add_callback(self._send)

    def cycle(self, cycle: int, residual: float) -> None:
        """Tell of a cycle whose residual is known; 0 is the initial guess."""
        if not self._on:
            return
        try:
            self._events.append(self._event(cycle, residual))
            if cycle == 0 or time.monotonic() - self._sent > _PERIOD:
                self._sent = time.monotonic()
                self._client.loop.add_callback(self._send)
        except Exception as error:
            self._fail(error)

    def _event(self, cycle: int, residual: float) -> dict[str, Any]:
        drive = self._drive
        # The layout is chosen once the initial guess is evaluated, on the old one.
        layout, self._layout = self._layout, drive.layout
        rows = stage_rows(drive.records[self._records :], layout)
        self._records = len(drive.records)
        event: dict[str, Any] = {"cycle": cycle, "residual": residual, "stages": [list(row) for row in rows]}
        if cycle == 0:
            event["layout"] = layout_event(drive.layout, drive.hierarchy)
        return event

    async def _send(self) -> None:
        """Send what there is; one call at a time, so that events arrive in their order."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            events = [self._events.popleft() for _ in range(len(self._events))]
            if not events:
                return
            try:
                message = getattr(self._client.scheduler, CHANNEL)(run=self._drive.run, events=events)
                await asyncio.wait_for(message, _PATIENCE)
            except Exception as error:
                self._fail(error)

    def end(self, state: str, message: str = "") -> None:
        """Tell that the solve has ended."""
        if not self._on:
            return
        self._events.append({"end": state, "message": message})
        try:
            if self._client.status == "running":
                self._client.sync(self._send, callback_timeout=_PATIENCE)
        except Exception as error:
            self._fail(error)
        self._on = False

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.end(
                "failed" if isinstance(error, Exception) else "interrupted", f"{type(error).__name__}: {error}"[:500]
            )
