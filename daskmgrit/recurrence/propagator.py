"""The contract of a propagator, checked at every call.

``phi(weights, index, level) -> new weights``: `weights` (k, s) are k independent states, `index` (k,) the integer
source step of each on `level`. Phi must not write to its input, so it is given a read-only view.

A Phi whose step takes several stages one after another on some levels has a method ``stages(level) -> int``: each call
then counts that many Phi, in the evaluations and in the critical path. Without it a call counts one.

A Phi that computed gradients before it could take steps has them in an attribute ``preparation``: a result by MGRIT
counts them, too.

A Phi with a true attribute ``pure`` (each row of its result depends on its own weights and step, the same each time) is
not tried before a solve, see :mod:`daskmgrit.recurrence.trial`.

A Phi with an integer attribute ``state_size`` takes initial states of that length only: others are refused before
anything is computed.

A Phi that begins at a later step than a solve, as ``start_at(phi, first)`` does, has a method
``steps_before(level) -> int``, so that messages can name its own steps.

A Phi may work on blocks of another array library: if ``w0`` is of that library, or if it has a method ``to_block`` that
makes a state of that library from a NumPy array, on the device that it computes on. `index` is a NumPy array always.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.utils.array_api import (
    Array,
    call_purely,
    copy_of,
    device,
    is_array,
    may_change,
    namespace,
)

Phi = Callable[[Array, Array, int], Array]

__all__ = [
    "NOT_PREPARED",
    "Phi",
    "Preparation",
    "apply_phi",
    "at_row",
    "failed_row",
    "preparation_of",
    "stages_of",
    "steps_before",
]


class Preparation(NamedTuple):
    """The gradients that a Phi took before a solve.

    Attributes
    ----------
    evaluations : int
        Their number.
    path : int
        How many of them were taken one after another.
    """

    evaluations: int = 0
    path: int = 0


NOT_PREPARED = Preparation()


def _references(array: Array) -> int:
    base = getattr(array, "base", None)
    return sys.getrefcount(array) + (0 if base is None else sys.getrefcount(base))


def is_held(new: Array) -> bool:
    """Whether an object besides the caller refers to an array: it may be a buffer that is written to again."""
    return _references(new) > _FRESH[getattr(new, "base", None) is not None]


def _count_fresh(new: Array) -> int:
    # Called as is_held is, so that both count the same names of their own.
    return _references(new)


def _fresh() -> tuple[int, int]:
    """Return the reference counts of an array, and of a view, without other references."""
    whole = np.empty(2)
    view = np.empty(2)[:1]
    return _count_fresh(whole), _count_fresh(view)


_FRESH = _fresh()


def read_only(array: Array) -> Array:
    """Return a view that cannot be written to."""
    view = array.view()
    view.setflags(write=False)
    return view


@contextmanager
def at_row(row: int, rows: int) -> Iterator[None]:
    """Note in an exception the block's state that it came from, for propagators that take states one by one."""
    try:
        yield
    except Exception as error:
        # Not every exception takes attributes.
        with suppress(AttributeError, TypeError):
            error.daskmgrit_row = row, rows  # type: ignore[attr-defined]
        raise


def failed_row(error: Exception, rows: int) -> int | None:
    """Return the state of a block of `rows` that an exception came from; None if it has no note."""
    row, of = getattr(error, "daskmgrit_row", (None, rows))
    return row if of == rows else None


def apply_phi(phi: Phi, weights: Array, index: Array, level: int) -> Array:
    """Call `phi` on a block and check its contract, except finiteness.

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
    if type(new) is not np.ndarray or not new.dtype.isnative:
        new = _plain(new, level)
    _check_alike(phi, new, weights, level)
    # A result is kept, not copied; so it must not be a buffer that phi writes to again.
    return new.copy() if is_held(new) else new


def _plain(new: Array, level: int) -> Array:
    """Return a copy of a result of a subclass, or of a foreign byte order, as a plain ndarray."""
    if np.ma.is_masked(new):
        raise PropagatorError(
            f"phi returned a masked array with masked entries (level {level}): return numbers for them, such as "
            "new.filled(0)"
        )
    return np.array(new, new.dtype.newbyteorder("="))


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
    _check_alike(phi, new, weights, level)
    return copy_of(new) if is_held(new) and may_change(new) else new


def _check_alike(phi: Any, new: Array, weights: Array, level: int) -> None:
    if new.shape != weights.shape:
        shape, given = tuple(new.shape), tuple(weights.shape)
        raise PropagatorError(
            f"phi returned shape {shape} for weights of shape {given} (level {level}): it receives k states as rows "
            f"and must return k rows; {_remedy_for_shape(phi, shape, given)}"
        )
    if new.dtype != weights.dtype:
        # A state holds no integers.
        is_for_states = "float" in str(new.dtype) or "complex" in str(new.dtype)
        raise PropagatorError(
            f"phi returned dtype {new.dtype} for weights of dtype {weights.dtype} (level {level}): "
            f"{'give w0 the dtype that phi works in, or ' * is_for_states}return new.astype(weights.dtype)"
        )


def _remedy_for_shape(phi: Any, shape: tuple[int, ...], given: tuple[int, ...]) -> str:
    """Return the remedy for a result of the wrong shape."""
    rows, columns = given
    if shape == (columns,):
        return getattr(phi, "remedy_for_one_state", "wrap a phi for one state in daskmgrit.vectorize")
    if len(shape) == 2 and shape[0] == rows:
        return f"return all {columns} weights of each; if these are all, give a w0 of length {shape[1]}"
    if shape == (rows,):
        return f"return all {columns} weights of each, not one number"
    if len(shape) == 2 and shape[1] == columns:
        return "return one for each, for any k"
    return f"return an array of shape {given}"


def preparation_of(phi: Any) -> Preparation:
    """Return the gradients that a Phi took before a solve."""
    found = getattr(phi, "preparation", None)
    return found if isinstance(found, Preparation) else NOT_PREPARED


def stages_of(phi: Any, level: int) -> int:
    """Return the number of Phi that one call on `level` counts: ``phi.stages(level)``, else 1.

    Raises
    ------
    PropagatorError
        If it returns anything but an integer of at least 1.
    """
    stages = getattr(phi, "stages", None)
    if not callable(stages):
        return 1
    count = stages(level)
    if type(count) is int and count >= 1:
        return count
    if not isinstance(count, numbers.Integral) or count < 1:
        raise PropagatorError(
            f"phi.stages({level}) is {count!r}: return the number of Phi that a step of this level takes one after "
            "another, an integer of at least 1"
        )
    return int(count)


def steps_before(phi: Any, level: int) -> int:
    """Return the number of steps of a level that a propagator has before step 0 of a solve."""
    own = getattr(phi, "steps_before", None)
    return int(own(level)) if callable(own) else 0
