"""Cancelling a solve in another thread: each of its waits ends."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stop", "Stopped", "current_stop", "with_stop"]


class Stopped(BaseException):
    """The end of a solve whose caller has stopped waiting; ``except Exception`` does not catch it."""


class Stop:
    """Asks a solve in another thread to end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._wakers: list[Callable[[], Any]] = []

    def ask(self) -> None:
        """End every wait, now and later."""
        with self._lock:
            self._asked = True
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def check(self) -> None:
        """Raise :class:`Stopped` if the solve was asked to end."""
        if self._asked:
            raise Stopped

    @contextmanager
    def waking(self, wake: Callable[[], Any]) -> Iterator[None]:
        """Register a wait that `wake` ends: after that the wait must raise, and the caller must call `check`."""
        with self._lock:
            self.check()
            self._wakers.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)


# Of the solve that this context belongs to. A solve within a callback of another ends with that.
_stop: contextvars.ContextVar[Stop | None] = contextvars.ContextVar("daskmgrit-stop", default=None)


def current_stop() -> Stop:
    """Return the object that can ask this solve to end."""
    return _stop.get() or Stop()


def with_stop(stop: Stop) -> None:
    """End everything that runs in this context from now on when `stop` is asked."""
    _stop.set(stop)
