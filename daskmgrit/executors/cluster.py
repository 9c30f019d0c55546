"""Execution of a graph on a cluster, through its client: results stay on the workers until they are fetched."""

from __future__ import annotations

import logging
import math
import pickle
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

import dask
import dask.array as da
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import Task, TaskRef
from dask.utils import format_bytes

from daskmgrit.errors import ClusterError
from daskmgrit.executors.cancellation import current_stop
from daskmgrit.executors.executor import Executor
from daskmgrit.executors.preflight import AllWorkersLost, ask_workers, cannot_load, check_cluster, numpy_probe
from daskmgrit.executors.scheduler_calls import bounded
from daskmgrit.executors.sharing import LARGE, shared_by
from daskmgrit.executors.task_slot import made_for_tasks, slot_left
from daskmgrit.executors.watchdog import LONGER, Watchdog, absence, excuse, unanswered
from daskmgrit.executors.wishes import Wishes, find_allowed
from daskmgrit.graph.pickled_tasks import large_value, seal, sealed_value
from daskmgrit.graph.submission import HeldLayer, TaskBook, held, stand_in
from daskmgrit.propagators.program import allow_programs
from daskmgrit.utils.collector import collector_paused
from daskmgrit.utils.pickling import check_picklable
from daskmgrit.utils.units import time_setting

logger = logging.getLogger("daskmgrit")

__all__ = ["ClusterExecutor"]


# Seconds after which to look whether workers were lost and new ones came, to plan tasks on those.
RENEWAL = 5.0


def _span() -> Any:
    """Return one span for all tasks of a solve, unless the user has set one.

    The scheduler makes a span for all tasks that come without one, and never forgets a span.
    """
    from distributed import span

    if "span" in (asked := dask.get_annotations()):
        return asked["span"]
    with span("daskmgrit"):
        return dask.get_annotations()["span"]


class ClusterExecutor(Executor):
    """A Dask cluster: results stay on its workers.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    timeout : float, optional
        Seconds to wait for workers, by default ``daskmgrit.worker-timeout`` of ``dask.config``.
    """

    ahead = True
    in_memory = True
    name = "distributed"

    def __init__(self, client: Any, timeout: float | None = None) -> None:
        self.client, self._stop = client, current_stop()
        self.patience = time_setting("daskmgrit.worker-timeout") if timeout is None else timeout
        self._alone = absence(client, self.patience) if timeout is None else timeout
        # What all that is planned on a worker depends on, and is not so itself: if all workers are lost, the scheduler
        # gives a task that was planned on one of them, and depends on nothing, to no worker that comes. And a cluster
        # that grows and shrinks with its tasks gets no workers before there is one, and keeps some while that is held.
        self._wishes = Wishes.current()
        self._span = _span()
        self._sent: weakref.WeakSet[Any] = weakref.WeakSet()
        self._known: set[str] = set()
        self._root = self._submit_root()
        self._find_workers()

    def _find_workers(self) -> None:
        threads = self._wait_for_workers()
        self._seen = time.monotonic()
        self.workers: list[str] | None = sorted(threads)
        self._known.update(threads)
        self.threads = [threads[worker] for worker in self.workers]
        self.hosts = len({worker.rpartition("://")[2].rpartition(":")[0] for worker in self.workers})

    def check(self, phi: Any) -> None:
        """Check that phi can be sent, and that every worker has this version of the package."""
        try:
            check_cluster(self.client, phi, self.patience, self.workers if self._wishes else None)
        except AllWorkersLost:
            # They may have been about to leave, idle, when the solve began.
            self._find_workers()
            check_cluster(self.client, phi, self.patience, self.workers if self._wishes else None)

    def ask_workers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Run a function on each worker; return the answers, or errors, by address.

        Raises
        ------
        ClusterError
            If a worker does not answer in time, or none is left.
        """
        return ask_workers(self.client, function, *args, timeout=self.patience)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Leave the slot of the Dask task that the solve runs in, if any; workers limit BLAS themselves."""
        allow_programs()
        with slot_left():
            try:
                yield
            except BaseException:
                # The traceback holds all of them, and is held by what it comes with until garbage is collected.
                for future in list(self._sent):
                    future.release()
                raise
            finally:
                # Remains of waits may hold it until garbage is collected.
                held(self._root).release()

    def put(self, value: Any, key: str, owner: int = 0) -> Delayed:
        """Send a value to its owner as a task, so that the scheduler can repeat it when a worker is lost."""
        return self._put(sealed_value(key, value, TaskRef(self._root.key)), owner)

    def _put(self, task: Task, owner: int = 0) -> Delayed:
        key, root = task.key, self._root
        book, stub = TaskBook(self.workers), delayed(None, name=key, traverse=False)
        book.layers = {key: MaterializedLayer({key: task}, book.note(owner))}
        book.layers |= root.dask.layers
        book.dependencies = {key: {root.key}, root.key: set()}
        # It is sent once, however large.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return self.submit(book, [stub])[0]

    def share(self, phi: Any, key: str, owner: Any) -> Delayed:
        """Send a propagator, a large one only if it was not sent before; the scheduler can repeat this, too."""
        pickled = check_picklable(phi)
        if pickled.nbytes < LARGE:
            return self.put(phi, key)
        shared, digest = shared_by(self.client), pickled.digest()
        future = shared.find(owner, digest)
        if future is None:
            logger.info("phi has %s, sent once to the cluster", format_bytes(pickled.nbytes))
            handle = self._put(large_value(key, pickled, TaskRef(self._root.key), self._copies()))
            future = held(handle)
            error = self._outcome(future, self._watch("phi", key))
            if error is not None:
                future.release()
                raise cannot_load(phi, "the worker that it was sent to", f"{type(error).__name__}: {error}")
            self._sent.discard(future)
            shared.hold(owner, digest, future)
        return stand_in(future.key, future)

    def _copies(self) -> bool:
        """Whether to send arrays as copies: to a scheduler without NumPy, or in this process."""
        if self.client.scheduler.address.startswith("inproc:"):
            return True
        return not bounded(self.client, self.patience, self.client.run_on_scheduler, numpy_probe())

    def _submit_root(self) -> Delayed:
        name = f"unpickler-0{uuid.uuid4().hex}"
        book, stub = TaskBook(), delayed(pickle.loads, name=name, traverse=False)
        book.layers, book.dependencies = dict(stub.dask.layers), {name: set()}
        return self._send(book, [stub])[0]

    def submit(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        """Send the tasks to the scheduler; returns at once."""
        if time.monotonic() - self._seen > RENEWAL:
            # Where the scheduler does not answer, the wait for the result will say so.
            with suppress(TimeoutError, OSError):
                self._replace_lost(bounded(self.client, self.patience, self.client.nthreads))
        try:
            return self._send(book, wanted)
        except ClusterError as error:
            if any(future.status == "cancelled" for future in self._sent):
                raise self._lost("its data of this solve") from error
            raise  # it is a guess that was lost before

    def _send(self, book: TaskBook, wanted: Sequence[Delayed]) -> list[Delayed]:
        keys = [task.key for task in wanted]
        with collector_paused(), dask.annotate(span=self._span):
            futures = self.client.get(seal(book.graph()), keys, sync=False)
        self._sent.update(futures)
        return [stand_in(key, future) for key, future in zip(keys, futures, strict=True)]

    def fetch(self, handle: Delayed, what: str, again: bool = False, usual: float = math.inf) -> Any:
        """Wait for a result; raise an error if the cluster is lost or makes no progress for too long.

        The cluster may forget the result then, unless it is fetched `again`.
        """
        future = held(handle)
        with self._stop.waking(future.release):
            value = self._wait(future, what, usual)
        if not again:
            # Remains of waits may hold the future until garbage is collected.
            future.release()
        return value

    def _wait(self, future: Any, what: str, usual: float) -> Any:
        from distributed import KilledWorker

        watch, tried = self._watch(what, future.key, usual), False
        while True:
            self._outcome(future, watch)
            try:
                return future.result(timeout=self.patience)
            except TimeoutError as found:
                if future.status == "error":
                    # The task's own, not the wait's.
                    future.release()
                    raise
                found.__traceback__ = None
                # A worker that holds the result but does not answer is given up, and the result made again.
                self._replace_lost(watch.look())
                # Nor may the client have heard yet that it is to be made again.
                if future.status == "finished" and tried and not watch.silence:
                    raise ClusterError(
                        f"{what} is on a worker but could not be fetched within {self.patience:g} s: check the "
                        f"network, or {LONGER}"
                    ) from None
                tried = not watch.silence
            except CancelledError as error:
                # The future keeps it: with its traceback that would hold all that the solve holds.
                error.__traceback__ = None
                self._stop.check()
                raise self._lost(what) from None
            except KilledWorker as error:
                future.release()
                raise ClusterError(
                    f"the scheduler gave up the task {error.task} while waiting for {what}: "
                    f"{error.allowed_failures + 1} workers died while they ran it or had it in their queue, the last "
                    f"{error.last_worker.address}. Their logs give the cause; if memory ran out, give the workers more "
                    "memory, or the solve more chunks (MGRIT) or a smaller window (parallel Newton). If workers are "
                    "expected to die, increase "
                    "distributed.scheduler.allowed-failures on the scheduler"
                ) from None
            except Exception:
                # The client keeps an error with its traceback, and that all futures of the solve, until it is told
                # that this one is no longer wanted.
                future.release()
                raise

    def _watch(self, what: str, key: str, usual: float = math.inf) -> Watchdog:
        held = made_for_tasks(self.client)
        return Watchdog(self.client, self.patience, what, self._alone, key, held, usual, self._known)

    def _outcome(self, future: Any, watch: Watchdog) -> BaseException | None:
        """Wait for a task; return its error if it failed."""
        while True:
            try:
                # This does not bring the result: to cut that short would cut short what other threads have brought by
                # this client, too.
                error: BaseException | None = future.exception(timeout=1)
                return error
            except TimeoutError as found:
                # The event loop may keep it, and with its traceback all that the solve holds.
                found.__traceback__ = None
                self._stop.check()
                self._replace_lost(watch.look())

    def _lost(self, what: str) -> ClusterError:
        if self.client.status in ("closing", "closed"):
            return ClusterError(
                f"the client was closed, and with it {what}: solve, or resume from a checkpoint, with another client"
            )
        return ClusterError(
            f"the cluster lost {what} and cannot compute it again: its scheduler was stopped or restarted, or it "
            "forgot data that the solve had sent; solve again"
        )

    def _replace_lost(self, present: Collection[str]) -> None:
        """Plan the chunks of lost workers on new ones from now on."""
        assert self.workers is not None
        self._seen = time.monotonic()
        new = sorted(set(present) - set(self.workers), reverse=True)
        self.workers = [worker if worker in present or not new else new.pop() for worker in self.workers]

    def store(self, held: int) -> None:
        """Return None: workers limit their memory themselves."""

    def keep(self, array: Any) -> Any:
        """Compute the array's chunks on the workers and hold them there."""
        with dask.annotate(span=self._span):
            kept = self.client.persist(array)
        layers = {name: HeldLayer(layer) for name, layer in kept.dask.layers.items()}
        return da.Array(HighLevelGraph(layers, kept.dask.dependencies), kept.name, kept.chunks, meta=kept)

    def _wait_for_workers(self) -> dict[str, int]:
        try:
            threads, offer = self._allowed()
            if not threads:
                found = f"no worker that fits {self._wishes}" if self._wishes else "no workers yet"
                logger.warning("the cluster has %s: waiting up to %g s for one", found, self._alone)
            end = time.monotonic() + self._alone
            while not threads:
                self._stop.check()
                left = end - time.monotonic()
                if left <= 0:
                    raise self._none_came(offer)
                try:
                    if self._wishes and offer:
                        time.sleep(min(0.2, left))
                    else:
                        self.client.wait_for_workers(1, timeout=min(1.0, left))
                except TimeoutError as found:
                    found.__traceback__ = None
                threads, offer = self._allowed()
        except TimeoutError:
            raise unanswered(self.patience) from None
        return dict(threads)

    def _allowed(self) -> tuple[dict[str, int], list[str]]:
        """Return the tasks that each allowed worker may run at a time, and descriptions of all workers."""
        if not self._wishes:
            return bounded(self.client, self.patience, self.client.nthreads), []
        wishes = (self._wishes.workers, self._wishes.others, self._wishes.resources)
        found: tuple[dict[str, int], list[str]] = bounded(
            self.client, self.patience, self.client.run_on_scheduler, find_allowed(), *wishes
        )
        return found

    def _none_came(self, offer: list[str]) -> ClusterError:
        within = f"none came within {self._alone:g} s{excuse(self.client)}"
        if self._wishes:
            there = ", ".join(offer) or "none"
            return ClusterError(
                f"the cluster has no worker that fits {self._wishes}, and {within}; workers are: {there}. Correct the "
                f"annotation, start such a worker (`dask worker ADDRESS --name … --resources …`), or {LONGER}"
            )
        return ClusterError(
            f"the cluster has no workers and {within}: start one with `dask worker ADDRESS`, or {LONGER}"
        )
