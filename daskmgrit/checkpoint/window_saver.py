"""The checkpoints of one solve by parallel Newton: when one is due, its content, and how a solve resumes from it."""

from __future__ import annotations

import dataclasses
import datetime
import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.delayed import Delayed

from daskmgrit.checkpoint import fingerprint, store
from daskmgrit.checkpoint.place import claim, find
from daskmgrit.checkpoint.policy import Checkpoint
from daskmgrit.checkpoint.schema import check_arrays, check_window_manifest
from daskmgrit.checkpoint.window_files import FORMAT, read_arrays, write_window
from daskmgrit.errors import CheckpointError, CheckpointUnusable, ClusterError
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.submission import TaskBook
from daskmgrit.graph.window_tasks import Carrier
from daskmgrit.newton.acceptance import unit_of
from daskmgrit.newton.error_estimate import Growth
from daskmgrit.newton.low_rank import Curvature
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import ByAcceptance, ByCorrections, Fixed, Size
from daskmgrit.newton.sweep import SweepReport
from daskmgrit.newton.window import SlidingWindow
from daskmgrit.recurrence.state import InitialState
from daskmgrit.utils.array_api import Array, move_like, to_host

__all__ = ["USUAL_SECONDS", "SavedWindow", "WindowSaver", "load_window", "open_window_saver"]

# Sweeps are short: unless more is said, a checkpoint is saved by time alone.
USUAL_SECONDS = 60.0
_SIZES = {rule.__name__: rule for rule in (Fixed, ByAcceptance, ByCorrections)}


@dataclass(frozen=True)
class SavedWindow:
    """A complete checkpoint.

    Attributes
    ----------
    path : Path
        Where it is.
    content : dict
        Entries of its manifest.
    arrays : dict
        Its arrays.
    """

    path: Path
    content: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def w0(self) -> np.ndarray:
        """The initial state, shape (s,)."""
        return self.arrays["w0"]

    @property
    def reports(self) -> list[SweepReport]:
        """The reports on the sweeps that led to it."""
        return [SweepReport(*report) for report in self.content["reports"]]

    @property
    def tol(self) -> float:
        """The tolerance of the solve that saved it."""
        return float(self.content["tol"])

    @property
    def size(self) -> Size:
        """The rule of the saved solve for the number of slots."""
        return _SIZES[self.content["size"]["rule"]](**self.content["size"]["values"])

    def carrier(self, like: Array, tol: float) -> Carrier:
        """Return the state of the solve, in the library of a state and on its device, to resume with a tolerance."""

        def block(name: str) -> Any:
            return move_like(self.arrays[name], like) if name in self.arrays else None

        error = block("error")
        if error is None and self.content.get("growth"):
            # Version 0.2.0 saved the size alone where Phi was taken whole.
            error = block("states")[:1, ...] * math.nan
        growth = Growth(block("before"), block("values"), error, block("jacobians"))
        with np.errstate(over="ignore"):
            spent = float(np.ldexp(self.content["spent"], 2 * (unit_of(self.tol) - unit_of(tol))))
        window = SlidingWindow(self.content["first"], block("states"), spent, self.content["pace"], growth)
        curvature = None
        if "basis" in self.arrays:
            basis, matrices, following = block("basis"), block("matrices"), block("following")
            curvature = Curvature(basis, matrices, self.arrays["ends"], following, self.content["age"])
        return Carrier(window, curvature, self.content["cycle"])


def load_window(directory: Path) -> SavedWindow:
    """Load the newest checkpoint in a directory.

    Raises
    ------
    CheckpointError
        If there is none, it is damaged, or it is of another method.
    """
    path = find(directory)
    content = store.manifest(path, FORMAT)
    check_window_manifest(path, content)
    saved = SavedWindow(path, content, read_arrays(path, content["arrays"]))
    check_arrays(path, content, saved.arrays)
    return saved


class WindowSaver:
    """Saves the checkpoints of one solve, in a directory that it holds.

    Parameters
    ----------
    policy : Checkpoint
        Where and how often.
    w0 : InitialState
        The initial state.
    settings : NewtonSettings
        The method.
    saved : SavedWindow, optional
        The checkpoint that the solve resumes from.
    """

    def __init__(
        self, policy: Checkpoint, w0: InitialState, settings: NewtonSettings, saved: SavedWindow | None
    ) -> None:
        self.policy, self.saved = policy, saved
        self._w0, self._settings = w0, settings
        self._last = saved.content["cycle"] if saved else 0
        self._clock = time.monotonic()
        self._problem: dict[str, Any] = {}

    def identify(self, executor: Executor, phi: Delayed, w0: Delayed, run: str) -> None:
        """Identify the problem, and check that it is that of the checkpoint to resume from."""
        settings = self._settings
        method = {name: getattr(settings, name) for name in ("steps", "jacobian", "interval", "rank")}
        options = method | fingerprint.describe_state(self._w0)
        if self.saved is not None:
            fingerprint.compare_options(self.saved.content["problem"]["options"], options, self.saved.path)
        book = TaskBook(executor.workers)
        task = book.add(f"fingerprint-{run}", fingerprint.evaluate, phi, w0, (settings.steps,), owner=0)
        with fingerprint.noting(None if self.saved is None else self.saved.path, self._w0.host.size):
            known = executor.fetch(executor.submit(book, [task])[0], "the fingerprint of phi")
        if self.saved is not None:
            fingerprint.compare(self.saved.content["problem"]["phi"], known, self._w0.dtype, self.saved.path)
        self._problem = {"options": options, "phi": known}

    def due(self, sweeps: int) -> bool:
        """Whether a checkpoint is due after this number of sweeps."""
        policy = self.policy
        by_sweeps = policy.every is not None and sweeps - self._last >= policy.every
        return by_sweeps or (policy.seconds is not None and time.monotonic() - self._clock > policy.seconds)

    def save(self, carrier: Carrier, reports: Sequence[SweepReport]) -> None:
        """Save the state of the solve, and remove the checkpoint before."""
        if self._last == carrier.sweeps and self.saved is not None:
            return
        window, growth, curvature = carrier.window, carrier.window.growth, carrier.curvature
        arrays: dict[str, Any] = {"w0": self._w0.host, "states": window.states}
        arrays |= {
            "before": growth.states,
            "values": growth.values,
            "error": growth.error,
            "jacobians": growth.jacobians,
        }
        if curvature is not None:
            arrays |= {"basis": curvature.basis, "matrices": curvature.matrices}
            arrays |= {"ends": curvature.ends, "following": curvature.following}
        size = self._settings.size
        content = {
            "first": window.first,
            "spent": window.spent,
            "pace": window.pace,
            "age": 0 if curvature is None else curvature.age,
            "tol": self._settings.tol,
            "size": {"rule": type(size).__name__, "values": _values(size)},
            "reports": [list(report) for report in reports],
            "problem": self._problem,
            "every": self.policy.every,
            "seconds": self.policy.seconds,
            "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        held = {name: to_host(array) for name, array in arrays.items() if array is not None}
        path = write_window(self.policy.directory, carrier.sweeps, content, held)
        store.clear(self.policy.directory, keep=path)
        self._last, self._clock = carrier.sweeps, time.monotonic()
        self.saved = SavedWindow(path, {**content, "cycle": carrier.sweeps}, held)

    def hint(self) -> str:
        """Return advice where to resume from."""
        directory = str(self.policy.directory)
        if self.saved is None:
            return f"no checkpoint had been saved in {directory} yet"
        return (
            f"the checkpoint of sweep {self._last} is in {directory}: resume from it with "
            f"solver.resume({directory!r}), or daskmgrit solve … --checkpoint {shlex.quote(directory)} --resume"
        )


def _values(size: Size) -> Mapping[str, Any]:
    return {each.name: getattr(size, each.name) for each in dataclasses.fields(size)}  # type: ignore[arg-type]


@contextmanager
def open_window_saver(
    policy: Checkpoint | None, w0: InitialState, settings: NewtonSettings, saved: SavedWindow | None
) -> Iterator[WindowSaver | None]:
    """Hold the directory of a solve's checkpoints; None where it saves none.

    Only the client writes to it. Errors that end the solve say where to resume.
    """
    if policy is None:
        yield None
        return
    saver = WindowSaver(policy, w0, settings, saved)
    with claim(policy.directory, saved is not None, None):
        try:
            if saved is not None and find(policy.directory) != saved.path:
                raise CheckpointError(f"another solve has resumed from {saved.path}")
            yield saver
        except CheckpointUnusable:
            raise
        except ClusterError as error:
            raise ClusterError(f"{error}; {saver.hint()}") from error
        except BaseException as error:
            error.add_note(saver.hint())
            raise
