"""The Phi contract, held at every call (DESIGN: batched, pure, finite), with its calls counted and timed.

``phi(weights, index, level) -> new weights``: `weights` (k, s) are k independent states, `index` (k,) the integer
source step of each on `level`. Phi must not write to its input, so it is given a read-only view.

A Phi whose step takes several stages one after another on some levels says so by a method ``stages(level) -> int``:
each call then counts that many Phi, in the evaluations and in the critical path. Without it a call counts one.

A Phi may work on blocks of another array library: if ``w0`` is of that library, or if it has a method ``to_block`` that
makes a state of that library from a NumPy array, on the device that it computes on. `index` is a NumPy array always.
"""

from __future__ import annotations

import cmath
import math
import numbers
import os
import sys
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from daskmgrit.backend import as_block, call_purely, copy_of, device, is_array, may_change, namespace, to_host
from daskmgrit.block import Record
from daskmgrit.errors import Diverged, PropagatorError
from daskmgrit.relaxation import Array, Phi
from daskmgrit.transfer import StateTransfer, Transferred

__all__ = ["Meter", "apply_phi", "stages_of"]


def _references(array: Array) -> int:
    base = getattr(array, "base", None)
    return sys.getrefcount(array) + (0 if base is None else sys.getrefcount(base))


def is_held(new: Array) -> bool:
    """Whether somebody besides the caller holds an array: a buffer, perhaps, that will be written to again."""
    return _references(new) > _FRESH[getattr(new, "base", None) is not None]


def _count_fresh(new: Array) -> int:
    # Called as is_held is, so that both count the same names of their own.
    return _references(new)


def _fresh() -> tuple[int, int]:
    """Return the reference counts of an array, and of a view, that nobody else holds."""
    whole = np.empty(2)
    view = np.empty(2)[:1]
    return _count_fresh(whole), _count_fresh(view)


_FRESH = _fresh()


def read_only(array: Array) -> Array:
    """Return a view that cannot be written to."""
    view = array.view()
    view.setflags(write=False)
    return view


def apply_phi(phi: Phi, weights: Array, index: Array, level: int) -> Array:
    """Call `phi` on a block and hold it to its contract, all but finiteness.

    Parameters
    ----------
    phi : callable
        The propagator.
    weights : ndarray, shape (k, s)
        k independent states.
    index : ndarray of int, shape (k,)
        Source step of each, on `level`.
    level : int
        The level.

    Raises
    ------
    PropagatorError
        If `phi` wrote to its input or returned something of another shape or dtype.
    """
    if not isinstance(weights, np.ndarray):
        return _apply_foreign(phi, weights, index, level)
    try:
        new = phi(read_only(weights), read_only(index), level)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise PropagatorError(
            f"phi wrote to its input (level {level}): {error}. Return a new array: begin with weights.copy(), "
            "and write a += b as a = a + b"
        ) from error
    if not isinstance(new, np.ndarray):
        raise PropagatorError(
            f"phi returned {type(new).__name__} (level {level}): return an ndarray of shape {weights.shape}"
        )
    _check_alike(new, weights, level)
    # A result is kept, not copied; so it must not be a buffer that phi writes to again.
    return new.copy() if is_held(new) else new


def _apply_foreign(phi: Phi, weights: Array, index: Array, level: int) -> Array:
    """Do the same for a block of another library, which cannot be made read-only."""
    new, wrote = call_purely(phi, weights, read_only(index), level)
    if wrote:
        raise PropagatorError(
            f"phi wrote to its input, or donated it (level {level}): return a new array, write a += b as a = a + b, "
            "and donate only what phi has made itself"
        )
    if not is_array(new) or namespace(new) is not namespace(weights) or device(new) != device(weights):
        where = f" on {device(new)}" if is_array(new) else ""
        raise PropagatorError(
            f"phi returned {type(new).__name__}{where} (level {level}): return a {type(weights).__name__} on "
            f"{device(weights)} of shape {tuple(weights.shape)}, as it was given"
        )
    _check_alike(new, weights, level)
    return copy_of(new) if is_held(new) and may_change(new) else new


def _check_alike(new: Array, weights: Array, level: int) -> None:
    if new.shape != weights.shape:
        raise PropagatorError(
            f"phi returned shape {new.shape} for weights of shape {weights.shape} (level {level}): it is given "
            "k states as rows and must return as many; wrap a phi for one state in daskmgrit.vectorize"
        )
    if new.dtype != weights.dtype:
        raise PropagatorError(
            f"phi returned dtype {new.dtype} for weights of dtype {weights.dtype} (level {level}): give w0 the "
            f"dtype that phi works in, or return new.astype(weights.dtype)"
        )


def stages_of(phi: Any, level: int) -> int:
    """Return how many Phi one call on `level` counts: what ``phi.stages(level)`` says, else 1.

    Raises
    ------
    PropagatorError
        If it says anything but an integer of at least 1.
    """
    stages = getattr(phi, "stages", None)
    if not callable(stages):
        return 1
    count = stages(level)
    if type(count) is int and count >= 1:
        return count
    if not isinstance(count, numbers.Integral) or count < 1:
        raise PropagatorError(
            f"phi.stages({level}) is {count!r}: it is the number of Phi that a step of this level takes one after "
            "another, an integer of at least 1"
        )
    return int(count)


# To ask the system takes as long as a small step.
_process = os.getpid()


def _renew_process() -> None:
    global _process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_process)


def _finite_sum(new: np.ndarray) -> bool:
    """Whether a sum over all entries is finite, as it is only if each of them is."""
    if new.flags.c_contiguous and new.dtype.kind == "f" and new.itemsize > 2:
        # It takes half as long as a sum, and does not warn of an overflow.
        flat = new.reshape(-1)
        return math.isfinite(np.vdot(flat, flat))
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(new.sum()))


class _Stage:
    """Counts and times a stage for its meter."""

    __slots__ = ("clock", "first", "kind", "level", "meter", "start")

    def __init__(self, meter: Meter, kind: str, level: int, first: int) -> None:
        self.meter, self.kind, self.level, self.first = meter, kind, level, first

    def __enter__(self) -> None:
        meter = self.meter
        meter.batches, meter.seconds = [], 0.0
        self.start, self.clock = time.time(), time.perf_counter()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            return
        meter, seconds = self.meter, time.perf_counter() - self.clock
        batches = meter.batches
        meter.records.append(
            Record(
                self.kind,
                self.level,
                meter.cycle,
                self.first,
                self.start,
                seconds,
                meter.seconds,
                len(batches),
                sum(batches),
                _process,
            )
        )


class Meter:
    """A propagator under observation: holds it to its contract, counts its calls, keeps records by stage.

    Parameters
    ----------
    phi : callable
        The propagator.
    cycle : int
        The cycle that the records belong to.

    Attributes
    ----------
    records : list of Record
        One for each stage.
    batches : list of int
        States in each Phi of the last stage: a call of several stages (:func:`stages_of`) is so many entries.
    seconds : float
        What they took together.
    """

    def __init__(self, phi: Phi, cycle: int) -> None:
        self.phi, self.cycle = phi, cycle
        self.transfers: tuple[StateTransfer | None, ...] = ()
        if isinstance(phi, Transferred):
            self.transfers, self._starts = phi.transfers, phi.starts
        self.records: list[Record] = []
        self.batches: list[int] = []
        self.seconds = 0.0

    def stage(self, kind: str, level: int, first: int) -> AbstractContextManager[None]:
        """Count and time from here under the name `kind`; `batches` stays readable afterwards."""
        return _Stage(self, kind, level, first)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the propagator to a block of states; an empty block needs no call."""
        if not weights.shape[0]:
            return weights
        clock = time.perf_counter()
        try:
            new = apply_phi(self.phi, weights, index, level)
        except Exception as error:
            _annotate(error, index, level, self.cycle)
            raise
        foreign = not isinstance(new, np.ndarray)
        # Other libraries may only have begun to compute: a number of theirs says that they are done.
        finite_sum = cmath.isfinite(complex(namespace(new).sum(new))) if foreign else None
        self.seconds += time.perf_counter() - clock
        self.batches += [weights.shape[0]] * stages_of(self.phi, level)
        if finite_sum is None:
            finite_sum = _finite_sum(new)
        # A sum may overflow where no entry does: only then look at each.
        if not finite_sum:
            finite = np.isfinite(to_host(new)).all(axis=1)
            if not finite.all():
                raise Diverged(level, int(index[np.argmin(finite)]), self.cycle)
        return new

    def transfer(self, level: int) -> StateTransfer | None:
        """Return what takes states from `level` to the next; None where they stay as they are."""
        return self.transfers[level] if self.transfers else None

    def start(self, level: int) -> Array:
        """Return the initial value on `level`, shape (1, s), where there are transfers."""
        return as_block(self.phi, self._starts[level])[None, ...]

    def restrict(self, rows: Array, level: int) -> Array:
        """Restrict states of `level` to the next level."""
        transfer = self.transfer(level)
        return rows if transfer is None else transfer.restrict(rows, level)


def _annotate(error: Exception, index: Any, level: int, cycle: int) -> None:
    """Say where in the solve a propagator's own exception came from."""
    steps = f"step {index[0]}" if len(index) == 1 else f"{len(index)} steps from {index[0]} to {index[-1]}"
    error.add_note(f"daskmgrit: raised by phi on level {level}, {steps}, cycle {cycle}")
