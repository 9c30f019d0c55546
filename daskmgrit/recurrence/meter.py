"""An observed propagator: its contract is checked, its calls are counted and timed, records are kept by stage."""

from __future__ import annotations

import cmath
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from daskmgrit.errors import Diverged, PropagatorError, name_step
from daskmgrit.recurrence.propagator import Phi, apply_phi, failed_row, stages_of, steps_before
from daskmgrit.recurrence.split_propagator import apply_gradient
from daskmgrit.utils.array_api import Array, in_host_memory, namespace, to_host

__all__ = ["Meter", "Record"]


class Record(NamedTuple):
    """One stage of a cycle on one chunk, as it ran."""

    kind: str
    level: int
    cycle: int
    first: int  # first F-interval (coarsest level: first point) of the chunk
    start: float  # seconds since the epoch
    seconds: float
    phi_seconds: float
    calls: int  # batched Phi, one after another
    evaluations: int  # state updates
    process: int


# To ask the system takes as long as a small step.
_process = os.getpid()


def _renew_process() -> None:
    global _process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_process)


def _finite_sum(new: np.ndarray) -> bool:
    """Whether a sum over all entries is finite, which it is only if each entry is."""
    if new.flags.c_contiguous and new.dtype.kind == "f" and new.itemsize > 2:
        # It takes half as long as a sum, and does not warn of an overflow.
        return math.isfinite(np.vdot(new, new))
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(new.sum()))


class Meter:
    """An observed propagator: checks its contract, counts its calls, keeps records by stage.

    Parameters
    ----------
    phi : callable
        The propagator.
    cycle : int
        The cycle that the records belong to.
    alone : bool, default False
        Whether guesses in host memory are evaluated one by one: kernels of matrix products give a row other last bits
        in a block, some of them rarely.

    Attributes
    ----------
    records : list of Record
        One for each stage.
    batches : list of int
        States in each Phi of the last stage. A call of several stages (:func:`stages_of`) has an entry for each.
    seconds : float
        Their time together.
    """

    def __init__(self, phi: Phi, cycle: int, alone: bool = False) -> None:
        self.phi, self.cycle, self.alone = phi, cycle, alone
        self.records: list[Record] = []
        self.batches: list[int] = []
        self.seconds = 0.0

    def stage(self, kind: str, level: int, first: int) -> AbstractContextManager[None]:
        """Count and time from here under the name `kind`; `batches` stays readable afterwards."""
        self._stage = kind, level, self.cycle, first
        return self

    def __enter__(self) -> None:
        self.batches, self.seconds = [], 0.0
        self._start, self._clock = time.time(), time.perf_counter()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            seconds, batches = time.perf_counter() - self._clock, self.batches
            self.records.append(
                Record(*self._stage, self._start, seconds, self.seconds, len(batches), sum(batches), _process)
            )

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the propagator to a block of states; an empty block needs no call."""
        if not weights.shape[0]:
            return weights
        new, finite_sum = self._observe(apply_phi, weights, index, level)
        if finite_sum is None:
            finite_sum = _finite_sum(new)
        # A sum may overflow where no entry does: only then look at each.
        if not finite_sum:
            finite = np.isfinite(to_host(new)).all(axis=1)
            if not finite.all():
                raise Diverged(level, int(index[np.argmin(finite)]), self.cycle, steps_before(self.phi, level))
        return new

    def guess(self, weights: Array, index: Array) -> Array:
        """Apply the propagator of level 0 to guesses, for which the result may not be finite."""
        return self._guess(apply_phi, weights, index)

    def gradient(self, weights: Array, index: Array) -> Array:
        """Compute the gradients of guesses; each counts as a Phi, because the update takes almost no time."""
        return self._guess(_apply_gradient, weights, index)

    def _guess(self, function: Callable[[Any, Array, Array, int], Array], weights: Array, index: Array) -> Array:
        def call(states: Array, steps: Array) -> Array:
            return self._observe(function, states, steps, 0, "sweep")[0]

        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if not self.alone or len(index) == 1 or not in_host_memory(weights):
                return call(weights, index)
            rows = [call(weights[i : i + 1, ...], index[i : i + 1]) for i in range(len(index))]
            return namespace(rows[0]).concat(rows, axis=0)

    def _observe(
        self,
        function: Callable[[Any, Array, Array, int], Array],
        weights: Array,
        index: Array,
        level: int,
        of: str = "cycle",
    ) -> tuple[Array, bool | None]:
        """Time and count a call; return its result and, for a block of another library, whether its sum is finite.

        `of` names what the solve counts, for errors.
        """
        clock = time.perf_counter()
        try:
            new = function(self.phi, weights, index, level)
        except SystemExit as error:
            # In the main thread it may be of a signal's handler. In others it would end a worker without a word.
            if threading.current_thread() is threading.main_thread():
                raise
            ended = PropagatorError(f"phi called sys.exit({error.code!r}): return the new weights, or raise an error")
            _annotate(ended, weights, index, level, self, of)
            raise ended from None
        except StopIteration as error:
            # As it is, generators and futures of the solve would take it for their own end.
            ended = PropagatorError("phi raised StopIteration: give it data for every step, or raise another error")
            _annotate(ended, weights, index, level, self, of)
            raise ended from error
        except Exception as error:
            _annotate(error, weights, index, level, self, of)
            raise
        except BaseException as error:
            # Ctrl-C comes in the main thread. A worker takes any other for its own end, and says nothing.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            told = f"phi raised {type(error).__name__}({', '.join(map(repr, error.args))}), which is no Exception"
            ended = PropagatorError(f"{told}: raise one, such as RuntimeError")
            _annotate(ended, weights, index, level, self, of)
            raise ended from error
        foreign = not isinstance(new, np.ndarray)
        # Other libraries may only have begun to compute: a number of theirs says that they are done.
        finite_sum = cmath.isfinite(complex(namespace(new).sum(new))) if foreign else None
        self.seconds += time.perf_counter() - clock
        self.batches += [weights.shape[0]] * stages_of(self.phi, level)
        return new, finite_sum


def _apply_gradient(phi: Any, weights: Array, index: Array, level: int) -> Array:
    return apply_gradient(phi, weights, index)


def _annotate(error: Exception, weights: Any, index: Any, level: int, meter: Meter, of: str) -> None:
    """Add to a propagator's own exception its place in the solve."""
    row, before = failed_row(error, len(index)), steps_before(meter.phi, level)
    if len(index) == 1 or row is not None:
        steps = name_step(int(index[row or 0]), before)
    else:
        steps = f"{len(index)} steps from {index[0]} to {index[-1]}"
        steps += f" of this solve, from {before + index[0]} to {before + index[-1]} of phi" if before else ""
    shapes = f"weights of shape {tuple(weights.shape)}, a state in each row, and index of shape {tuple(index.shape)}"
    place = f"on level {level}, {steps}" if of == "cycle" else f"at {steps}"
    # Sweep 0 is a trial; cycle 0 evaluates the initial guess.
    when = f", {of} {meter.cycle}" if meter.cycle or of == "cycle" else ""
    error.add_note(f"daskmgrit: raised by phi {place}{when}; it was given {shapes}")
