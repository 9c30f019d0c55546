"""The evaluation of each slot by itself in a sweep: Phi, or the gradients of an optimizer's steps.

Phi may raise an error for a guess that serial training never comes to. Then the evaluation is nan, as if Phi had
returned that, and the error is kept: it counts where the state is accepted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import Squares, row_norms, row_squares
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.split_propagator import apply_advance, is_split
from daskmgrit.utils.array_api import Array, device, namespace, nbytes, to_host

__all__ = [
    "Arriving",
    "Evaluation",
    "RawEvaluation",
    "Take",
    "TakeAll",
    "evaluate",
    "merged",
    "residual_norm",
    "residual_squares",
]


# Bytes of a state from which on its update is worth a thread.
LARGE = 1 << 20


class RawEvaluation(NamedTuple):
    """The evaluation of a run of slots, as it is computed and sent.

    Attributes
    ----------
    images : Array, shape (k, s), or None
        The state where each slot ends, from the state where it begins; None if that is one update with a known
        gradient, which takes less time than to send it.
    gradients : tuple of Array, shape (k, g) each, or None
        Gradients of the first, second, … step of each slot, if the propagator gives them separately. Slots with fewer
        steps have no row in the last of them. Without columns if Phi failed in all slots of the run.
    errors : tuple of (int, Exception)
        The rows for which Phi raised an error, and that.
    """

    images: Array | None
    gradients: tuple[Array, ...] | None
    errors: tuple[tuple[int, Exception], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether Phi failed in all slots."""
        return len(self.errors) == self.slots

    @property
    def slots(self) -> int:
        """Number of slots."""
        rows = self.images if self.gradients is None else self.gradients[0]
        assert rows is not None
        return int(rows.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(nbytes(rows) for rows in (self.images, *(self.gradients or ())) if rows is not None)


class Evaluation(NamedTuple):
    """The evaluation of all slots: images (n, s), and gradients as in :class:`RawEvaluation`."""

    images: Array
    gradients: tuple[Array, ...] | None


# Evaluates slots: states where they begin (k, s), their first steps (k,), how many steps each has (k,). It gives the
# evaluations of successive runs of slots, one after another as they are done.
Take = Callable[[Array, np.ndarray, np.ndarray], Iterable[RawEvaluation]]
# The same, for their images, when all are done.
TakeAll = Callable[[Array, np.ndarray, np.ndarray], Array]


class Arriving:
    """The evaluations of a window's slots, which are used in their order while later ones may still be computed.

    Parameters
    ----------
    parts : iterable of RawEvaluation
        Those of successive runs of slots.
    phi : callable
        The propagator.
    states : Array, shape (n, s)
        The state where each slot begins.
    begins : ndarray of int, shape (n,)
        The step that each slot begins with.
    """

    def __init__(self, parts: Iterable[RawEvaluation], phi: Phi, states: Array, begins: np.ndarray) -> None:
        self._coming, self._known = iter(parts), list[RawEvaluation]()
        self._phi, self._states, self._begins = phi, states, begins

    def _runs(self, first: int = 0) -> Iterator[tuple[int, slice, int]]:
        """Yield each run with slots from number `first` on: its number, its slots, and how many are before `first`."""
        number = done = 0
        while True:
            if number == len(self._known):
                part = next(self._coming, None)
                if part is None:
                    return
                self._known.append(part)
            slots = slice(done, done + self._known[number].slots)
            if slots.stop > first:
                yield number, slots, max(0, first - slots.start)
            number, done = number + 1, slots.stop

    def gradients(self, first: int) -> Iterator[tuple[slice, tuple[Array, ...]]]:
        """Yield slots from number `first` on, run by run, and their gradients, up to a run in which Phi failed."""
        for number, slots, skip in self._runs(first):
            rows = self._known[number].gradients
            assert rows is not None
            if self._known[number].failed:
                return
            rest = tuple(each[min(skip, int(each.shape[0])) :, ...] for each in rows)
            yield slice(slots.start + skip, slots.stop), rest

    def images(self, first: int) -> Iterator[tuple[slice, Array]]:
        """Yield slots from number `first` on, run by run, and their images."""
        for number, slots, skip in self._runs(first):
            part = self._known[number] = self._with_images(self._known[number], slots)
            assert part.images is not None
            yield slice(slots.start + skip, slots.stop), part.images[skip:, ...]

    def all(self) -> Evaluation:
        """Wait for all slots, and return their evaluation."""
        # Runs without images get them in one call.
        self._known = merged([self._known[number] for number, _, _ in self._runs()])
        self._known = merged([self._with_images(self._known[number], slots) for number, slots, _ in self._runs()])
        (whole,) = self._known
        assert whole.images is not None
        return Evaluation(whole.images, whole.gradients)

    def wait(self) -> None:
        """Wait for all slots."""
        for _ in self._runs():
            pass

    def errors(self) -> dict[int, Exception]:
        """Return the errors that Phi has raised so far, by slot."""
        return {slots.start + row: error for part, slots in self._so_far() for row, error in part.errors}

    def _so_far(self) -> Iterator[tuple[RawEvaluation, slice]]:
        done = 0
        for part in self._known:
            yield part, slice(done, done + part.slots)
            done += part.slots

    def _with_images(self, part: RawEvaluation, slots: slice) -> RawEvaluation:
        if part.images is not None or part.gradients is None:
            return part
        if part.failed:
            return part._replace(images=_nan_like(self._states[slots, ...]))
        assert is_split(self._phi)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            images = apply_advance(self._phi, self._states[slots, ...], part.gradients[0], self._begins[slots])
        return part._replace(images=_without(images, [row for row, _ in part.errors]))


def merged(parts: Iterable[RawEvaluation]) -> list[RawEvaluation]:
    """Return the evaluation of successive runs of slots in the fewest runs: all with images, or all without."""
    return [_joined(list(alike)) for _, alike in itertools.groupby(parts, lambda part: part.images is None)]


def _joined(parts: list[RawEvaluation]) -> RawEvaluation:
    if len(parts) == 1:
        return parts[0]
    errors, first = [], 0
    for part in parts:
        errors += [(first + row, error) for row, error in part.errors]
        first += part.slots
    images = [part.images for part in parts if part.images is not None]
    joined = namespace(images[0]).concat(images, axis=0) if images else None
    if parts[0].gradients is None:
        return RawEvaluation(joined, None, tuple(errors))
    xp = namespace(parts[0].gradients[0])
    stages = range(max(len(part.gradients or ()) for part in parts))
    gradients = [[part.gradients[j] for part in parts if part.gradients and j < len(part.gradients)] for j in stages]
    if errors:
        width = max(rows.shape[1] for stage in gradients for rows in stage)
        gradients = [[rows if rows.shape[1] else _nan_rows(rows, width) for rows in stage] for stage in gradients]
    return RawEvaluation(joined, tuple(xp.concat(rows, axis=0) for rows in gradients), tuple(errors))


def _nan_like(rows: Array) -> Array:
    return namespace(rows).full_like(rows, math.nan)


def _nan_rows(rows: Array, width: int) -> Array:
    return namespace(rows).full((rows.shape[0], width), math.nan, dtype=rows.dtype, device=device(rows))


def _without(rows: Array, failed: list[int]) -> Array:
    """Return rows with nan in place of those that failed."""
    if not failed:
        return rows
    xp, known = namespace(rows), np.ones((rows.shape[0], 1), bool)
    known[failed] = False
    return xp.where(xp.asarray(known, device=device(rows)), rows, _nan_like(rows))


def evaluate(meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray) -> RawEvaluation:
    """Take the steps of each slot, the only part of a sweep that costs Phi.

    Parameters
    ----------
    meter : Meter
        The propagator.
    states : Array, shape (k, s)
        The state where each slot begins.
    begins : ndarray of int, shape (k,)
        The step that each slot begins with.
    lengths : ndarray of int, shape (k,)
        Number of its steps, not larger than that of the slot before.

    Raises
    ------
    PropagatorError
        If Phi breaks its contract. Other errors of Phi are part of the result, except MemoryError.
    """
    # Then the update is left to those who need the states: it takes less time than to send them.
    gradient_only = is_split(meter.phi) and bool(lengths[0] == 1) and nbytes(states) < LARGE * len(begins)
    return _evaluate_or_fail(meter, states, begins, lengths, gradient_only)


def _evaluate_or_fail(
    meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray, gradient_only: bool
) -> RawEvaluation:
    try:
        return _evaluate(meter, states, begins, lengths, gradient_only)
    except (PropagatorError, MemoryError):
        raise
    except Exception as error:
        if len(begins) == 1:
            gradients = tuple(states[:, :0] for _ in range(int(lengths[0]))) if is_split(meter.phi) else None
            return RawEvaluation(None if gradient_only else _nan_like(states), gradients, ((0, error),))
    # One by one, to find which of them fail: the others have the same bits so.
    rows = [slice(row, row + 1) for row in range(len(begins))]
    return _joined(
        [_evaluate_or_fail(meter, states[row, ...], begins[row], lengths[row], gradient_only) for row in rows]
    )


def _evaluate(
    meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray, gradient_only: bool
) -> RawEvaluation:
    phi, images = meter.phi, states
    gradients: list[Array] = []
    for stage in range(int(lengths[0])):
        active = int((lengths > stage).sum())
        index, rows = begins[:active] + stage, images[:active, ...]
        if is_split(phi):
            gradient = meter.gradient(rows, index)
            gradients.append(gradient)
            if gradient_only:
                return RawEvaluation(None, (gradient,))
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                rows = apply_advance(phi, rows, gradient, index)
        else:
            rows = meter.guess(rows, index)
        images = rows if active == len(lengths) else namespace(rows).concat([rows, images[active:, ...]], axis=0)
    return RawEvaluation(images, tuple(gradients) if gradients else None)


def residual_squares(images: Array, states: Array, exactly: bool = False, unit: int = 0) -> np.ndarray:
    """Return the squared 2-norm of each slot's residual ``Phi(W[j]) - W[j+1]``, shape (k,).

    Parameters
    ----------
    images : Array, shape (k, s)
        Where slots end by Phi.
    states : Array, shape (k, s)
        Where they end in the window: the state that the next slot begins with.
    exactly : bool, default False
        Whether only equal states have residual 0, also where squares underflow; all others then have inf.
    unit : int, default 0
        Squares are in units of ``4**unit``.
    """
    if exactly:
        xp = namespace(images)
        return np.where(to_host(xp.all(images == states, axis=1)), 0.0, np.inf)
    return row_norms(images, states, unit)


def residual_norm(images: Array, states: Array, squares: np.ndarray, unit: int) -> float:
    """Return the 2-norm of the residual over all slots; `squares` are those of :func:`residual_squares`."""
    total = float(squares.sum())
    if 1e-200 <= total < np.inf:
        return Squares(squares, unit).root_of_sum()
    return row_squares(images, states).root_of_sum()
