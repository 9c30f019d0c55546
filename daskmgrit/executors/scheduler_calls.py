"""Calls of a client to its scheduler, each with a bound: its view of the cluster, and help for tasks that got stuck.

Functions for the scheduler are nested, so that they travel by value: the scheduler may lack this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ["View", "WorkerView", "announce_lost", "bounded", "free", "look", "restart"]


def bounded(client: Any, seconds: float, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a method of a client, and wait at most `seconds` for its answer.

    Raises
    ------
    TimeoutError
        If there is no answer in that time.
    """
    # On the client's event loop, where sync() has it called, the method returns a coroutine instead of waiting.
    return client.sync(lambda: method(*args, **options), callback_timeout=seconds)


class WorkerView(NamedTuple):
    """A worker as the scheduler sees it."""

    status: str
    silent: float  # seconds since it was heard of
    involved: bool  # whether it has tasks or data
    running: bool  # whether it runs a task, as it said last
    memory: float  # share of its limit
    cancelled: bool = False  # whether it runs a task that was cancelled


class View(NamedTuple):
    """The cluster as its scheduler sees it."""

    moves: int  # changes of a task's state so far
    patience: float  # seconds that a worker may well be silent
    workers: dict[str, WorkerView]
    waits: list[tuple[str, str, str]]  # a worker that runs nothing, the worker whose data it waits for, the task
    stranded: str  # what a task asks for that no worker may run; empty if there is none


def look(client: Any, seconds: float, key: Any = None, held: bool = False) -> View:
    """Ask the scheduler for its view.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    seconds : float
        Maximum time for the scheduler's answer.
    key : str, optional
        Key of the task whose result is waited for.
    held : bool
        Whether a task may hold its slot until the result is there: then only tasks that the result needs count as
        running.
    """
    view = bounded(client, seconds, client.run_on_scheduler, _look(), key, held)
    workers = {address: WorkerView(*worker) for address, worker in view["workers"].items()}
    return View(view["moves"], view["patience"], workers, [tuple(wait) for wait in view["waits"]], view["stranded"])


def _look() -> Callable[..., dict[str, Any]]:
    def look(key: Any, held: bool, dask_scheduler: Any) -> dict[str, Any]:
        import time

        from distributed.scheduler import heartbeat_interval

        # The missing inputs of the result.
        upstream, to_come = set(), [ts for ts in [dask_scheduler.tasks.get(key)] if ts is not None]
        while to_come:
            ts = to_come.pop()
            if ts not in upstream and not ts.who_has:
                upstream.add(ts)
                to_come.extend(ts.dependencies)

        def wish(ts: Any) -> str:
            asked = (ts.worker_restrictions, ts.host_restrictions, ts.resource_restrictions)
            names = ("workers", "hosts", "resources")
            kept = [f"{name} {each}" for name, each in zip(names, asked, strict=True) if each]
            return f"{ts.key}, which asks for {' and '.join(kept) or 'any worker'}"

        now = time.time()
        workers: dict[str, tuple[Any, ...]] = {}
        waits: list[tuple[str, str, str]] = []
        for ws in dask_scheduler.workers.values():
            memory = ws.metrics.get("memory", 0) / ws.memory_limit if ws.memory_limit else 0.0
            # A task that has left its slot waits for others, as this solve's own may do, unless it is waited for.
            running = any(ts in upstream or not (held or ts in ws.long_running) for ts in ws.executing)
            # A thread cannot leave a task that was cancelled; the scheduler has forgotten that, its worker counts it.
            cancelled = bool(ws.metrics.get("task_counts", {}).get("cancelled"))
            running = running or cancelled
            involved = bool(ws.processing or ws.has_what)
            workers[ws.address] = (ws.status.name, now - ws.last_seen, involved, running, memory, cancelled)
            if running or len(waits) >= 3:
                continue
            for ts in list(ws.processing)[:10]:
                # Where a task has no result, who_has is None.
                missing = [dep.who_has for dep in ts.dependencies if dep.who_has and ws not in dep.who_has]
                holders = [other.address for who_has in missing for other in who_has]
                if holders:
                    waits.append((ws.address, holders[0], str(ts.key)))
                    break
        return {
            "moves": dask_scheduler.transition_counter,
            "patience": 10 * heartbeat_interval(len(workers)),
            "workers": workers,
            "waits": waits,
            "stranded": "; ".join(map(wish, list(dask_scheduler.unrunnable)[:1])),
        }

    return look


def restart() -> Callable[..., Any]:
    """Return a function that restarts a silent worker."""

    async def restart(address: str, seconds: float, dask_scheduler: Any) -> None:
        """Restart a silent worker, as the scheduler itself does much later."""
        await dask_scheduler.restart_workers(
            [address],
            timeout=seconds,
            wait_for_workers=False,
            on_error="return",
            stimulus_id="daskmgrit-silent-worker",
        )

    return restart


def free() -> Callable[..., None]:
    """Return a function that frees tasks whose own workers are gone."""

    def free(dask_scheduler: Any) -> None:
        """Let tasks run anywhere if they became ready while no worker ran, and their own workers are gone.

        They were sent with ``allow_other_workers``, but the scheduler gives such a task to no worker that comes later.
        """
        stranded = [
            ts.key for ts in dask_scheduler.unrunnable if ts.loose_restrictions and not dask_scheduler.valid_workers(ts)
        ]
        if stranded and dask_scheduler.running:
            dask_scheduler.set_restrictions(dict.fromkeys(stranded))
            worker = next(iter(dask_scheduler.running))
            dask_scheduler.transitions(
                dask_scheduler.bulk_schedule_unrunnable_after_adding_worker(worker), "daskmgrit-stranded-tasks"
            )

    return free


def announce_lost() -> Callable[..., None]:
    """Return a function that tells workers once more of those that were lost."""

    def announce(lost: Iterable[str], dask_scheduler: Any) -> None:
        """Let workers give up connecting to lost ones.

        One that hears of a loss just before it begins to connect tries that for half a minute, the default of
        ``distributed.comm.timeouts.connect``, and the data that it would fetch is made again only then.
        """
        for address in lost:
            if address not in dask_scheduler.workers:
                told = {"op": "remove-worker", "worker": address, "stimulus_id": "daskmgrit-lost-worker"}
                for other in list(dask_scheduler.workers):
                    dask_scheduler.worker_send(other, told)

    return announce
