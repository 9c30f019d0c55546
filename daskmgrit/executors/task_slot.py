"""A solve within a Dask task: it leaves the task's slot on the worker to other tasks while it waits for them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["in_task", "leave_slot", "made_for_tasks", "slot_left"]


def _worker() -> Any:
    """Return the worker whose task this is; None outside of tasks."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def in_task() -> bool:
    """Whether this runs in a Dask task that occupies a slot of its worker, as it does until it secedes."""
    if _worker() is None:
        return False
    from distributed.threadpoolexecutor import thread_state

    return bool(getattr(thread_state, "proceed", True))


def made_for_tasks(client: Any) -> bool:
    """Whether a client is the one that a worker keeps for its tasks, seen from a thread that runs none of them."""
    return _worker() is None and str(getattr(client, "id", "")).startswith("Client-worker-")


@contextmanager
def slot_left() -> Iterator[None]:
    """Let the worker run another task in place of this thread's task, if there is one.

    Otherwise tasks that wait for their own tasks could occupy all workers; Dask's ``Client.get`` does the same.
    """
    from distributed import rejoin, secede
    from distributed.worker import thread_state

    # A method of an actor occupies no slot. An asynchronous solve has a thread of its own: see leave_slot.
    left = hasattr(thread_state, "start_time") and not getattr(thread_state, "actor", False) and in_task()
    if left:
        secede()
    try:
        yield
    finally:
        if left:
            rejoin()


def leave_slot() -> None:
    """Leave the slot of the asynchronous task that this coroutine runs in, if any."""
    worker = _worker()
    task = asyncio.current_task()
    if worker is None or task is None:
        return
    from distributed.worker_state_machine import SecedeEvent

    # Dask's secede() is for threads. A worker names the coroutine that runs a task for it.
    for key in [ts.key for ts in worker.state.executing]:
        if task.get_name() == f"execute({key!r})":
            stimulus = f"daskmgrit-secede-{time.time()}"
            worker.handle_stimulus(SecedeEvent(key=key, compute_duration=0.0, stimulus_id=stimulus))
