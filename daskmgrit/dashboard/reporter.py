"""The client's side: reports a solve to the scheduler and never interrupts the solve."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from daskmgrit._version import __version__
from daskmgrit.dashboard.events import CHANNEL
from daskmgrit.executors.executor import Executor
from daskmgrit.utils.config import setting

__all__ = ["Reporter"]

logger = logging.getLogger("daskmgrit")

_PATIENCE = 10.0  # seconds that a message to the scheduler may take
_PERIOD = 0.1  # seconds between messages at least: quick cycles and sweeps are told together
_told: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def _attach_probe() -> Callable[..., str | None]:
    # A nested function travels by value, so it runs also where the package is missing.
    def attach(about: Any, version: str, dask_scheduler: Any) -> str | None:
        """Return a missing part, None if the page is complete."""
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


class Reporter:
    """Reports one solve to the dashboard; does nothing on a local scheduler or without a dashboard.

    Any failure here is logged, once for a client, and the solve continues.

    Parameters
    ----------
    executor : Executor
        Where the solve runs.
    run : str
        Token of the solve's keys.
    describe : callable
        Returns the page's description of the run, from the identifier of its client.
    """

    def __init__(self, executor: Executor, run: str, describe: Callable[[str], dict[str, Any]]) -> None:
        self._run = run
        self._events: deque[dict[str, Any]] = deque()
        self._sent = 0.0
        self._turn: asyncio.Lock | None = None
        self._client: Any = None
        self._on = executor.client is not None and bool(setting("daskmgrit.dashboard"))
        if self._on:
            self._begin(executor, describe)

    def _begin(self, executor: Executor, describe: Callable[[str], dict[str, Any]]) -> None:
        self._client = executor.client
        try:
            about = describe(self._client.id)
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
            logger.warning("this solve continues without the page /mgrit of Dask's dashboard: %s", why)

    def _fail(self, error: Exception) -> None:
        """Log the error, and remove the plug-in if it can be reached."""
        if not self._on:
            return
        self._warn(repr(error))
        self._events.clear()
        self._events.append({"end": "not followed any more", "message": repr(error)[:500]})
        with suppress(Exception):
            self._client.loop.add_callback(self._send)

    def tell(self, make: Callable[[], dict[str, Any]], at_once: bool = False) -> None:
        """Send the result of `make`, if any, with the next message; `make` is called only if the page listens."""
        if not self._on:
            return
        try:
            event = make()
            if event:
                self._events.append(event)
            if at_once or time.monotonic() - self._sent > _PERIOD:
                self._sent = time.monotonic()
                self._client.loop.add_callback(self._send)
        except Exception as error:
            self._fail(error)

    async def _send(self) -> None:
        """Send the waiting events; one call at a time, so that events arrive in order."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            events = [self._events.popleft() for _ in range(len(self._events))]
            if not events:
                return
            try:
                message = getattr(self._client.scheduler, CHANNEL)(run=self._run, events=events)
                await asyncio.wait_for(message, _PATIENCE)
            except Exception as error:
                self._fail(error)

    def end(self, state: str, message: str = "") -> None:
        """Report the end of the solve."""
        if not self._on:
            return
        self._events.append({"end": state, "message": message})
        try:
            if self._client.status == "running":
                self._client.sync(self._send, callback_timeout=_PATIENCE)
        except Exception as error:
            self._fail(error)
        self._on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.end(
                "failed" if isinstance(error, Exception) else "interrupted", f"{type(error).__name__}: {error}"[:500]
            )
