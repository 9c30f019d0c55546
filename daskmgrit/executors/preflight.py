"""Checks, before anything is submitted, that a cluster can run the solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daskmgrit._version import __version__
from daskmgrit.errors import ClusterError
from daskmgrit.executors.scheduler_calls import bounded, look
from daskmgrit.executors.sharing import LARGE
from daskmgrit.executors.watchdog import LONGER, unanswered
from daskmgrit.utils.pickling import check_picklable

__all__ = ["AllWorkersLost", "ask_workers", "cannot_load", "check_cluster", "numpy_probe"]


class AllWorkersLost(ClusterError):
    """All workers that were connected a moment ago are lost."""


def ask_workers(
    client: Any, function: Callable[..., Any], *args: Any, timeout: float, **options: Any
) -> dict[str, Any]:
    """Run a function on all workers, or those in ``workers=``; return each one's answer or error.

    Workers that are lost during the call are left out.

    Raises
    ------
    ClusterError
        If one does not answer in time, or none is left; the message names it.
    """
    from distributed.comm import CommClosedError

    try:
        answers = bounded(client, timeout, client.run, function, *args, on_error="return", **options)
    except TimeoutError:
        pass
    else:
        left = {worker: answer for worker, answer in answers.items() if not isinstance(answer, CommClosedError)}
        if not left:
            who = _some(sorted(answers)) or "every worker"
            raise AllWorkersLost(f"{who} was lost while the solve began: solve again")
        return left
    try:
        workers = look(client, timeout).workers
    except TimeoutError:
        raise unanswered(timeout) from None
    order = sorted(workers, key=lambda address: -workers[address].silent)
    silent = [address for address in order if workers[address].silent > timeout / 2] or order[:1]
    raise ClusterError(f"worker {_some(silent)} did not answer for {timeout:g} s: restart it, or {LONGER}")


def _version_probe() -> Callable[[], str | None]:
    # A nested function travels by value, so it runs also where the package is missing.
    def probe() -> str | None:
        import importlib

        try:
            return str(importlib.import_module("daskmgrit").__version__)
        except ModuleNotFoundError:
            return None

    return probe


def _load_probe() -> Callable[[bytes, list[bytes]], str | None]:
    def probe(pickled: bytes, buffers: list[bytes]) -> str | None:
        import pickle

        try:
            pickle.loads(pickled, buffers=buffers)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    return probe


def numpy_probe() -> Callable[[], bool]:
    """Return a function that tells whether its process has NumPy."""

    def probe() -> bool:
        import importlib.util

        return importlib.util.find_spec("numpy") is not None

    return probe


def check_cluster(client: Any, phi: Any, timeout: float = 60.0, workers: list[str] | None = None) -> None:
    """Check that phi can be sent, and that every worker, or each of `workers`, has this version of the package.

    The scheduler needs neither (see :mod:`daskmgrit.graph.pickled_tasks`).

    Raises
    ------
    PropagatorError
        If phi cannot be pickled.
    ClusterError
        If a worker lacks the package, has another version, cannot load phi, or does not answer for `timeout` seconds.
    """
    pickled = check_picklable(phi)
    among = {} if workers is None else {"workers": workers}
    versions = ask_workers(client, _version_probe(), timeout=timeout, **among)
    missing = sorted(str(where) for where, version in versions.items() if version is None)
    if missing:
        raise ClusterError(
            f"daskmgrit is not installed on {_some(missing)}: install version {__version__} in that environment before "
            "the worker starts, or by the PipInstall plug-in of distributed"
        )
    broken = sorted(f"{where} ({error!r})" for where, error in versions.items() if isinstance(error, BaseException))
    if broken:
        raise ClusterError(f"daskmgrit cannot be imported on {_some(broken)}")
    other = sorted(f"{where} ({version})" for where, version in versions.items() if version != __version__)
    if other:
        raise ClusterError(
            f"daskmgrit is {__version__} here but another version on {_some(other)}: install the same everywhere"
        )
    if pickled.nbytes >= LARGE:
        # It is to be sent once, as a task.
        return
    # One worker stands for all.
    worker = min(versions)
    probe, buffers = _load_probe(), [bytes(buffer) for buffer in pickled.buffers]
    error = ask_workers(client, probe, pickled.data, buffers, workers=[worker], timeout=timeout)[worker]
    if error is not None:
        raise cannot_load(phi, worker, error)


def cannot_load(phi: Any, where: str, error: str) -> ClusterError:
    """Return the error for a worker that cannot load phi."""
    return ClusterError(
        f"phi={phi!r} cannot be loaded on {where} ({error}): install its module there, send it with "
        "client.upload_file(...), or define phi in the script or notebook itself"
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
