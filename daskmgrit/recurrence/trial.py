"""A few calls of a user's Phi before a solve: it must take k states, with independent rows and repeatable results."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.split_propagator import apply_advance, apply_gradient, is_split
from daskmgrit.utils.array_api import Array, Origin, as_block, move_like, to_host

__all__ = [
    "DIFFERS",
    "Finding",
    "alike",
    "already_tried",
    "check_arguments",
    "known_finding",
    "needs_trial",
    "one_state_fault",
    "parts_fault",
    "raise_at_start",
    "states_near",
    "try_phi",
]

# A Phi that takes longer, for one state, is called no further: its time is the solve's. A first call may be longer for
# what it compiles, up to the second number.
SECONDS, COMPILED = 0.2, 2.0
# States of a trial: a fraction of a percent of the Phi of a solve.
PART, FEWEST, MOST = 64, 2, 8
# States that differ by more than this number of last bits differ by more than rounding.
LAST_BITS = 1e3
DIFFERS = (
    "phi gives different results for the same input: draw random numbers from a generator that is seeded with the "
    "step's number, one for each row, and keep no state between calls: momenta and the like belong in the state"
)
# Exceptions that arrays of a wrong length cause.
OF_LENGTHS = (ValueError, TypeError, IndexError, AssertionError)


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of a trial.

    Attributes
    ----------
    error : str
        Defect that makes a solve impossible; empty if there is none.
    remark : str
        Defect that keeps a solve from converging, as far as a few calls can tell; empty if none was found.
    first : float
        Seconds of the first call, which may compile.
    """

    error: str = ""
    remark: str = ""
    first: float = field(default=0.0, compare=False)


_FOUND: ContextVar[tuple[Any, Finding] | None] = ContextVar("daskmgrit_trial", default=None)


def check_arguments(phi: Any) -> None:
    """Check that phi takes three arguments, as far as its signature tells, and is no class.

    Raises
    ------
    PropagatorError
        If phi does not take three arguments, or is a class, whose call makes an instance.
    """
    if isinstance(phi, type):
        raise PropagatorError(f"phi={phi.__name__} is a class: give an instance, phi={phi.__name__}(…)")
    try:
        signature = inspect.signature(phi)
    except (TypeError, ValueError):  # a function that is not Python's need not tell
        return
    try:
        signature.bind(None, None, 0)
    except TypeError:
        raise PropagatorError(
            f"phi takes {signature}, but is called as phi(weights, index, level): weights (k, s) are k states, index "
            "(k,) the step of each. A loop's body f(w) or f(w, i) for one state becomes a propagator by "
            "daskmgrit.from_function(f)"
        ) from None


def needs_trial(phi: Any) -> bool:
    """Whether phi needs a trial: not if it is declared pure, by a true attribute ``pure``."""
    return not getattr(phi, "pure", False)


@contextmanager
def already_tried(phi: Any, finding: Finding | None) -> Iterator[None]:
    """Let solves in the block, and in its thread, use this finding instead of a trial of phi, unless it is None."""
    token = _FOUND.set(None if finding is None else (phi, finding))
    try:
        yield
    finally:
        _FOUND.reset(token)


def known_finding(phi: Any) -> Finding | None:
    """Return the finding that :func:`already_tried` has for phi."""
    known = _FOUND.get()
    return known[1] if known is not None and known[0] is phi else None


def states_near(state: np.ndarray, count: int) -> np.ndarray:
    """Return `count` states near one, shape (count, s), itself the first: all different, so that mixed rows are seen.

    Zero entries become small positive numbers, which are valid also for moments of an optimizer.
    """
    part = 0.01 * np.arange(count)[:, None] / max(count, 1)
    offset = 0.0 if state.any() else part * (1 + 0.5 * np.cos(np.arange(state.size)))
    return np.asarray(state * (1 + part) + offset, state.dtype)


def try_phi(phi: Phi, w0: Array | Origin, steps: int, parts: bool = False) -> Finding:
    """Call phi on a few states near the initial value, and on the first and the last of them alone.

    A mistake, such as ``weights[0]`` for the state, often leaves a block's first row correct. Further calls only
    identify the defect.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : ndarray or Origin
        The initial state.
    steps : int
        Number of training steps.
    parts : bool, default False
        Whether the block is tried by gradient and update, if phi gives them separately: they are what the solve calls.

    Raises
    ------
    Exception
        The exception of phi for the initial state, if phi is not for one state only; see :func:`raise_at_start`.
    """
    count = min(steps, MOST, max(FEWEST, steps // PART))
    try:
        start = as_block(phi, w0)[None, ...]
    except Exception:  # the solve itself will say
        return Finding()
    states, index = move_like(states_near(to_host(start)[0], count), start), np.arange(count)
    block = _call_parts if parts and is_split(phi) else _call
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        known = False
        try:
            clock = time.perf_counter()
            alone = _call(phi, states[:1, ...], index[:1])
            first = took = time.perf_counter() - clock
            if SECONDS < first <= COMPILED:
                clock = time.perf_counter()
                _call(phi, states[:1, ...], index[:1])
                took = time.perf_counter() - clock
            if took > SECONDS:
                return Finding(first=first)
            known = True
            together = block(phi, states, index)
            if alike(alone, together[:1]) and alike(_call(phi, states[-1:, ...], index[-1:]), together[-1:]):
                return Finding(first=first)
            if not alike(block(phi, states, index), together):
                return Finding(remark=DIFFERS)
            if block is not _call and (fault := parts_fault(phi, states, index, _call(phi, states, index))):
                return Finding(error=fault)
        except PropagatorError as error:
            return Finding(error=str(error))
        except Exception as error:
            if known and block is not _call and _takes(phi, states, index):
                # It is that of gradient or update, and so of the solve.
                return Finding(first=first)
            found = one_state_fault(phi, states, index, error)
            # Its error for the initial state alone is that of the solve. It may be a task to be tried again.
            if not (found or known):
                raise_at_start(phi, start, error)
            return Finding(error=found)
    return Finding(
        remark=f"phi gives a state different weights in a block of {count} than alone: each row of its result must "
        "depend on its own weights and step only; take norms, means and maxima over axis 1, not over the whole block. "
        "A loop's body f(w, i) for one state becomes a propagator by daskmgrit.from_function(f)"
    )


def raise_at_start(phi: Any, start: Array, error: Exception) -> NoReturn:
    """Raise the exception of phi for the initial state, with w0 in its message if its length may be the cause.

    Parameters
    ----------
    phi : callable
        The propagator.
    start : Array, shape (1, s)
        The block that it was given.
    error : Exception
        Its exception.

    Raises
    ------
    PropagatorError
        If the exception is of a kind that arrays of a wrong length cause; the exception itself otherwise.
    """
    if isinstance(error, PropagatorError) or not (isinstance(error, OF_LENGTHS) or _names_lengths(error)):
        raise error
    told = PropagatorError(
        f"phi failed on w0, which has length {start.shape[1]} and dtype {to_host(start).dtype}, with "
        f"{type(error).__name__}: {str(error).strip()}. If phi expects another length, give a w0 of "
        f"that{_own_length(phi)}; otherwise correct phi"
    )
    for note in getattr(error, "__notes__", []):
        told.add_note(note)
    # On the way from a worker only one traceback survives: that to the user's line.
    raise told.with_traceback(error.__traceback__) from error


def _names_lengths(error: Exception) -> bool:
    """Whether an error is of shapes, as PyTorch's are."""
    return type(error) is RuntimeError and any(word in str(error) for word in ("shape", "size"))


def _own_length(phi: Any) -> str:
    own = getattr(phi, "w0", None)
    return f" (phi.w0 has {np.size(own)})" if isinstance(own, np.ndarray) else ""


def parts_fault(phi: Any, states: Array, index: Array, whole: np.ndarray) -> str:
    """Return in words that separate gradient and update are not phi's step; empty if they are."""
    if not is_split(phi) or alike(whole, _call_parts(phi, states, index)):
        return ""
    return (
        "phi.advance(weights, phi.gradient(weights, index), index) is not phi(weights, index, 0): parallel Newton "
        "takes the two for the step, so make phi call them"
    )


def _call(phi: Phi, states: Array, index: Array) -> np.ndarray:
    return np.array(to_host(Meter(phi, 0).guess(states, index)))


def _takes(phi: Phi, states: Array, index: Array) -> bool:
    try:
        _call(phi, states, index)
    except Exception:
        return False
    return True


def _call_parts(phi: Any, states: Array, index: Array) -> np.ndarray:
    return np.array(to_host(apply_advance(phi, states, apply_gradient(phi, states, index), index)))


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether states are the same except for rounding; a trial does not judge values that are not finite."""
    difference, scale = np.abs(one - other), np.abs(one).max(initial=0.0)
    bound = LAST_BITS * np.finfo(one.dtype).eps * scale
    return not (np.isfinite(difference) & (difference > bound)).any()


def one_state_fault(phi: Any, states: Array, index: Array, error: Exception) -> str:
    """Return in words that phi takes one state only, if it takes each alone; otherwise empty."""
    shape = tuple(states.shape[1:])
    try:
        for row, step in enumerate(index):
            one: Any = states[row, ...]
            if tuple(np.shape(phi(one, int(step), 0))) != shape:
                return ""
    except Exception:
        return ""
    remedy = getattr(
        phi,
        "remedy_for_one_state",
        "Wrap it by daskmgrit.vectorize(phi), or a loop's body f(w, i) by daskmgrit.from_function(f); a phi for many "
        "states at once is faster",
    )
    return (
        f"phi is for one state: it takes weights of shape {shape}, but is given k states as rows with the step of "
        f"each, weights (k, {shape[0]}) and index (k,), of which came, for k = {len(index)} or 1, "
        f"{type(error).__name__}: {error}. {remedy}"
    )
