"""Solves through an asynchronous client: the solve runs in a thread of its own, and the event loop stays free.

Called from another thread than its loop's, an asynchronous ``distributed.Client`` blocks like any other. So the same
code solves, futures are the user's client's, and bits are the same. This module adds that cancelling the wait ends the
solve.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from daskmgrit.executors.cancellation import Stop, Stopped, with_stop
from daskmgrit.executors.task_slot import leave_slot
from daskmgrit.solver.options import Arguments, Callback, WindowArguments
from daskmgrit.solver.result import Result

logger = logging.getLogger("daskmgrit")

__all__ = ["solve_in_thread"]

# Seconds for a cancelled solve to end: it waits for nothing more, but may be within a callback of the user's.
PATIENCE = 30.0

A = TypeVar("A", Arguments, WindowArguments)


async def solve_in_thread(solve: Callable[[A], Result], arguments: A) -> Result:
    """Run a blocking solve in a thread and wait for it; when the wait is cancelled, the solve ends.

    Parameters
    ----------
    solve : callable
        ``solve(arguments)``.
    arguments : Arguments or WindowArguments
        Arguments of the solve, with an asynchronous client. A coroutine of the callback is awaited on the event loop.

    Raises
    ------
    RuntimeError
        If the client belongs to another event loop.
    """
    loop, client = asyncio.get_running_loop(), arguments.client
    if client.loop.asyncio_loop is not loop:
        raise RuntimeError(f"client={client!r} belongs to another event loop: await solve() on the client's own loop")
    await client
    leave_slot()
    stop = Stop()
    context = contextvars.copy_context()
    context.run(with_stop, stop)
    if callable(arguments.callback):
        arguments = replace(arguments, callback=_on_loop(arguments.callback, loop, stop))

    def work() -> Result | None:
        try:
            return solve(arguments)
        except Stopped:
            return None

    # Not the loop's own pool: there, a few long solves would keep all others waiting.
    pool = ThreadPoolExecutor(1, thread_name_prefix="daskmgrit-solve")
    running = loop.run_in_executor(pool, context.run, work)
    pool.shutdown(wait=False)
    try:
        result = await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.ask()
        # So that its futures are gone when the caller continues.
        await asyncio.wait([running], timeout=PATIENCE)
        if not running.done():
            logger.warning("a cancelled solve is still in its callback after %g s: let the callback return", PATIENCE)
        elif not running.cancelled() and (error := running.exception()) is not None:
            logger.debug("a solve ended with an error while it was cancelled", exc_info=error)
        raise
    # Only a cancelled wait asks the solve to stop.
    assert result is not None
    return result


def _on_loop(callback: Callback, loop: asyncio.AbstractEventLoop, stop: Stop) -> Callback:
    """Return a plain function that calls `callback` and waits until the loop has run a coroutine that it returns."""

    def call(*args: Any) -> Any:
        answer = callback(*args)
        if not inspect.isawaitable(answer):
            return answer

        async def wait() -> Any:
            return await answer

        handle = asyncio.run_coroutine_threadsafe(wait(), loop)
        with stop.waking(handle.cancel):
            try:
                return handle.result()
            except CancelledError:
                stop.check()
                raise

    return call
