"""The wait for a cluster's result: silent workers, stuck tasks, and the end of the wait.

Dask recomputes the data of a lost worker. But for minutes, or for ever, it does not notice a worker that has stopped
and is still connected, a scheduler that does not answer, workers paused because their memory is full, and workers that
cannot reach each other. This module looks for them, so that every wait ends.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from daskmgrit.errors import ClusterError
from daskmgrit.executors.scheduler_calls import View, announce_lost, bounded, free, look, restart

logger = logging.getLogger("daskmgrit")

# The remedy where a wait was given up too early.
LONGER = "increase timeout=, or daskmgrit.worker-timeout in dask.config"

# A wait is told that lasts this many times as long as usual.
SLOW = 10.0

__all__ = ["LONGER", "Watchdog", "absence", "excuse", "unanswered"]


def unanswered(seconds: float, meanwhile: str = "") -> ClusterError:
    """Return the error of a scheduler that has not answered for that long."""
    return ClusterError(
        f"the scheduler did not answer for {seconds:g} s{meanwhile}: check that it is not overloaded, or {LONGER}"
    )


def absence(client: Any, patience: float) -> float:
    """Return the seconds to wait without workers: more if the cluster gets them from a queue and says so."""
    return float(max(patience, getattr(getattr(client, "cluster", None), "patience", 0.0)))


def excuse(client: Any) -> str:
    """Return why workers have not come, if the cluster gets them from a queue and can say so."""
    explain = getattr(getattr(client, "cluster", None), "explain", None)
    said = explain() if explain else ""
    return f" ({said})" if said else ""


class Watchdog:
    """Watches one wait for a result.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    patience : float
        Seconds to wait for a worker, a reply or any progress.
    what : str
        Description of the result.
    alone : float, optional
        Seconds to wait for a first worker, by default `patience`.
    key : str, optional
        Key of the result.
    held : bool
        Whether a Dask task may hold its slot while it waits for this wait, which is in a thread of its own.
    usual : float
        Seconds that the result may be expected to take.
    known : set of str, optional
        Workers that there have been, which looks add to.
    """

    def __init__(
        self,
        client: Any,
        patience: float,
        what: str,
        alone: float | None = None,
        key: str | None = None,
        held: bool = False,
        usual: float = math.inf,
        known: set[str] | None = None,
    ) -> None:
        self._begun, self._usual = time.monotonic(), usual
        self.client, self.patience, self.what, self.key, self.held = client, patience, what, key, held
        self.alone = patience if alone is None else alone
        self._known = set[str]() if known is None else known
        self._announced: set[str] = set()
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._late: set[str] = set()
        self._moves = -1
        self._given_up = 0
        self._most = 3
        # Whether a worker that does not answer is waited for, or was given up by the last look.
        self.silence = False

    def look(self) -> list[str]:
        """Check that the wait can still succeed; return the addresses of the workers.

        Raises
        ------
        ClusterError
            If the scheduler is lost or silent, there are no workers, or there is no progress, for too long.
        """
        if self.client.status != "running":
            raise ClusterError(
                f"the connection to the scheduler was lost (client status {self.client.status!r}) "
                f"while waiting for {self.what}"
            )
        view = self._ask(look, self.client, self.patience, self.key, self.held)
        self._known.update(view.workers)
        self._none(view)
        self._silent(view)
        self._stuck(view)
        self._slow(view)
        return list(view.workers)

    def _ask(self, method: Callable[..., Any], *args: Any) -> Any:
        try:
            return method(*args)
        except TimeoutError:
            raise unanswered(self.patience, f" while waiting for {self.what}") from None
        except OSError as error:
            raise ClusterError(
                f"the connection to the scheduler was lost while waiting for {self.what}: {error}"
            ) from None

    def _lasts(self, name: str, holds: bool, patience: float, warning: str) -> bool:
        """Whether a condition has held for too long; warns once when it has held for a quarter of that."""
        if not holds:
            self._since.pop(name, None)
            self._told.discard(name)
            return False
        lasted = time.monotonic() - self._since.setdefault(name, time.monotonic())
        if lasted > patience / 4 and name not in self._told:
            self._told.add(name)
            logger.warning("%s while waiting for %s; giving up in %.0f s", warning, self.what, patience - lasted)
        return lasted > patience

    def _none(self, view: View) -> None:
        if self._lasts("none", not view.workers, self.alone, "the cluster has no workers"):
            raise ClusterError(
                f"all workers were lost and none came within {self.alone:g} s while waiting for {self.what}"
                f"{excuse(self.client)}; start workers, or {LONGER}"
            )

    def _silent(self, view: View) -> None:
        patience = max(self.patience, view.patience)
        self._most = max(self._most, len(view.workers))
        self.silence = False
        for address, worker in view.workers.items():
            name = f"silent {address}"
            if not worker.involved or worker.silent < patience / 4:
                self._told.discard(name)
                continue
            self.silence = True
            if name not in self._told:
                self._told.add(name)
                logger.warning(
                    "worker %s has not answered for %.0f s while waiting for %s; its work goes to others in %.0f s",
                    address,
                    worker.silent,
                    self.what,
                    max(patience - worker.silent, 0),
                )
            # Seen twice, because the scheduler may have been kept from hearing its workers while it answered this.
            if worker.silent > patience and address in self._late:
                self._give_up(address, worker.silent)
        self._late = {address for address, worker in view.workers.items() if worker.silent > patience}

    def _give_up(self, address: str, silent: float) -> None:
        self._given_up += 1
        if self._given_up > self._most:
            raise ClusterError(
                f"worker {address} has not answered for {silent:.0f} s, like {self._most} before it, while waiting for "
                f"{self.what}; if phi holds the interpreter that long, {LONGER}"
            )
        logger.warning(
            "worker %s has not answered for %.0f s: it is treated as lost (a nanny restarts it); its work is retried",
            address,
            silent,
        )
        self._since.pop("stuck", None)
        seconds = self.patience + 20
        self._ask(bounded, self.client, seconds, self.client.run_on_scheduler, restart(), address, 15.0)

    def _stuck(self, view: View) -> None:
        still = view.moves == self._moves and not any(worker.running for worker in view.workers.values())
        self._moves = view.moves
        # A silent worker is a reason of its own.
        still = still and bool(view.workers) and "none" not in self._since
        still = still and not any(w.involved and w.silent > view.patience for w in view.workers.values())
        reason = self._reason(view)
        if still and view.stranded:
            self._ask(bounded, self.client, self.patience, self.client.run_on_scheduler, free())
        lost = self._known - view.workers.keys() - self._announced
        if still and lost:
            self._announced |= lost
            self._ask(bounded, self.client, self.patience, self.client.run_on_scheduler, announce_lost(), list(lost))
        if self._lasts("stuck", still, self.patience, f"nothing runs: {reason},"):
            raise ClusterError(
                f"nothing has run for {self.patience:g} s while waiting for {self.what}: {reason}. If this is "
                f"expected, {LONGER}"
            )

    def _slow(self, view: View) -> None:
        """Tell of a wait that lasts; Phi may run for hours, so to end it is for the user."""
        lasted = time.monotonic() - self._begun
        busy = [address for address, worker in view.workers.items() if worker.cancelled][:3]
        if busy and lasted > self.patience / 4 and "cancelled" not in self._told:
            self._told.add("cancelled")
            logger.warning(
                "waiting for %s; a task that was cancelled still runs on %s: if phi hangs there, restart the worker",
                self.what,
                " and ".join(busy),
            )
        if lasted > max(self.patience / 4, SLOW * self._usual) and "slow" not in self._told:
            self._told.add("slow")
            running = [address for address, worker in view.workers.items() if worker.running][:3]
            logger.warning(
                "waiting for %s for %.0f s, where %.2g s are usual%s",
                self.what,
                lasted,
                self._usual,
                f": phi may hang or be slow on {' or '.join(running)}" if running else "",
            )

    def _reason(self, view: View) -> str:
        paused = [
            f"{address} ({worker.memory:.0%})" for address, worker in view.workers.items() if worker.status == "paused"
        ]
        if paused:
            return (
                f"worker {', '.join(paused[:3])} is paused because its memory is full: use more workers, or "
                "more memory per worker"
            )
        if view.waits:
            waiting, holder, key = view.waits[0]
            return f"worker {waiting} waits for data of {holder}, which it may be unable to reach (for {key})"
        if view.stranded:
            return f"no worker may run {view.stranded}"
        if self.held:
            return (
                "other tasks hold the slots of its workers, and may wait for this solve: a thread that a task "
                "has started can't leave the task's slot. Solve in the task's own thread, which can"
            )
        return "the scheduler has given no worker a task that it can run"
