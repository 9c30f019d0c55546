"""One sweep over a window: evaluate its slots, accept a prefix, correct the rest, slide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from daskmgrit.errors import Diverged
from daskmgrit.newton import full, low_rank, picard
from daskmgrit.newton.acceptance import accept, unit_of
from daskmgrit.newton.error_estimate import Growth, accept_growth, known_growth
from daskmgrit.newton.evaluate import (
    Arriving,
    Evaluation,
    RawEvaluation,
    Take,
    TakeAll,
    evaluate,
    residual_norm,
    residual_squares,
)
from daskmgrit.newton.low_rank import Curvature
from daskmgrit.newton.scan import doublings, group_length
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import new_pace
from daskmgrit.newton.window import SlidingWindow, fitting_slots, slide, slot_steps
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import row_lengths, row_norms
from daskmgrit.recurrence.propagator import Phi, steps_before
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["Ahead", "Forward", "SweepReport", "Swept", "sweep"]


class SweepReport(NamedTuple):
    """The report of a sweep.

    Attributes
    ----------
    first : int
        p before it.
    slots : int
        Slots that were evaluated.
    accepted : int
        Steps that were accepted.
    residual : float
        2-norm of the residual over the slots of the window, before it was corrected.
    depth : int
        Phi in a row.
    scan_depth : int
        Doublings of the scan; the strict count of the critical path counts each as a Phi.
    evaluations : int
        Number of states for which Phi, or the gradient, was evaluated.
    """

    first: int
    slots: int
    accepted: int
    residual: float
    depth: int
    scan_depth: int
    evaluations: int


class Swept(NamedTuple):
    """The outcome of a sweep.

    Attributes
    ----------
    window : SlidingWindow
        The window after it.
    curvature : Curvature or None
        The known curvature.
    accepted : Array, shape (a, s)
        The accepted states where slots end.
    report : SweepReport
        What it did.
    errors : dict of int to Exception
        Errors that Phi raised for guesses, by the step that they begin with.
    """

    window: SlidingWindow
    curvature: Curvature | None
    accepted: Array
    report: SweepReport
    errors: dict[int, Exception]


class Forward(NamedTuple):
    """The part of a sweep that the next one needs.

    Attributes
    ----------
    window : SlidingWindow
        The window after it, without the growth of errors.
    curvature : Curvature or None
        The known curvature.
    report : callable
        Does the rest, for which nothing waits.
    """

    window: SlidingWindow
    curvature: Curvature | None
    report: Callable[[], Swept]


class Ahead(Protocol):
    """Evaluates slots of the next window as soon as their states are known."""

    def begin(self, begins: np.ndarray, lengths: np.ndarray) -> bool:
        """Tell of the next window's slots; return whether their states are to be added one after another."""

    def add(self, states: Array) -> None:
        """Add the states where the next slots begin."""

    def end(self) -> None:
        """Tell that all have been added."""


class _Asked:
    """Has slots evaluated, and counts the states."""

    def __init__(self, take: Take, phi: Phi) -> None:
        self.take, self.phi, self.evaluations = take, phi, 0

    def parts(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Iterable[RawEvaluation]:
        self.evaluations += int(lengths.sum())
        return self.take(states, begins, lengths)

    def images(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Array:
        return Arriving(self.parts(states, begins, lengths), self.phi, states, begins).all().images


def sweep(
    meter: Meter,
    window: SlidingWindow,
    settings: NewtonSettings,
    curvature: Curvature | None = None,
    take: Take | None = None,
    ahead: Ahead | None = None,
) -> Forward:
    """Sweep once over a window, as far as the next sweep needs it; the report is left to the result.

    Evaluations are used in the order of their slots, each as soon as it is known. With the identity as the Jacobian,
    a corrected state depends on no later slot: then `ahead` may evaluate it while later ones are still to come.

    Parameters
    ----------
    meter : Meter
        The propagator; its counts are continued.
    window : SlidingWindow
        The window, which ends before step N.
    settings : NewtonSettings
        The method.
    curvature : Curvature, optional
        The curvature of the last sweep.
    take : callable, optional
        Evaluates slots, the only part that costs Phi; by default in this thread, through `meter`.
    ahead : Ahead, optional
        Evaluates slots of the next window ahead of the next sweep.

    Raises
    ------
    Diverged
        If Phi of an accepted state is not finite, so that serial training diverges there, too.
    Exception
        The error that Phi raised for an accepted state, as it does in serial training.
    """
    n, interval = window.slots, settings.interval
    asked = _Asked(take or partial(_evaluate, meter), meter.phi)
    ends = slot_steps(window.first, n, settings.steps, interval)
    begins, lengths = ends[:-1], np.diff(ends)
    before = window.states[:-1, ...]
    found = Arriving(asked.parts(before, begins, lengths), meter.phi, before, begins)
    exactly, unit = settings.exactly, unit_of(settings.tol)
    known: list[np.ndarray] = []
    count, spent = accept(
        _squares(found, window.states, exactly, unit, known),
        window.spent,
        ends[1:],
        settings.steps,
        math.ldexp(settings.tol, -unit),
    )
    last = next(images[:1, ...] for _, images in found.images(count - 1))
    if not np.isfinite(to_host(last)).all():
        # No evaluation continues after the end, or is left out of the counts.
        found.all()
        if (error := found.errors().get(count - 1)) is not None:
            raise error
        raise Diverged(0, int(begins[count - 1]), meter.cycle, steps_before(meter.phi, 0))
    first, pace, depth = int(ends[count]), new_pace(window.pace, count), int(lengths[0])
    states, slots, matrices = last, 0, None
    if first < settings.steps:
        if settings.jacobian == "lowrank":
            depth += settings.start_up if curvature is None else 0
            curvature = _curvature(asked.images, window, found.all(), begins, lengths, settings, curvature)
        if settings.jacobian == "full":
            matrices = _jacobians(asked.images, window, found.all(), count, begins, lengths)
        corrected = _correct(meter.phi, window, found, last, count, begins, lengths, settings, curvature, matrices)
        moved = None
        if settings.size.needs_lengths:
            rows = namespace(last).concat(list(corrected), axis=0)
            corrected, moved = iter([rows]), row_lengths(rows, window.states[count:, ...])
        slots = fitting_slots(first, settings.size.next(n, pace, moved), settings.steps, interval)
        states = _next_states(slide(corrected, slots), slot_steps(first, slots, settings.steps, interval), ahead)
    # Others may need those that this sweep does not.
    found.wait()

    def report() -> Swept:
        everything = found.all()
        accepted = namespace(last).concat([window.states[1:count, ...], last], axis=0)
        growth = accept_growth(window.growth, meter.phi, window.states[:count, ...], everything, accepted, begins)
        if slots:
            growth = known_growth(
                growth, before, everything, count, slots, None if matrices is None else matrices[1:, ...]
            )
        rest = slice(sum(map(len, known)), None)
        known.append(residual_squares(everything.images[rest, ...], window.states[1:, ...][rest, ...], exactly, unit))
        told = SweepReport(
            window.first,
            n,
            first - window.first,
            residual_norm(everything.images, window.states[1:, ...], np.concatenate(known), unit),
            depth,
            doublings(n),
            asked.evaluations,
        )
        errors = {int(begins[slot]): error for slot, error in found.errors().items()}
        return Swept(SlidingWindow(first, states, spent, pace, growth), curvature, accepted, told, errors)

    return Forward(SlidingWindow(first, states, spent, pace, Growth()), curvature, report)


def _evaluate(meter: Meter, states: Array, begins: np.ndarray, lengths: np.ndarray) -> list[RawEvaluation]:
    return [evaluate(meter, states, begins, lengths)]


def _squares(found: Arriving, states: Array, exactly: bool, unit: int, known: list[np.ndarray]) -> Iterator[float]:
    """Yield the squared residual of each slot; those of each run are appended to `known`."""
    for slots, images in found.images(0):
        known.append(residual_squares(images, states[slots.start + 1 : slots.stop + 1, ...], exactly, unit))
        yield from known[-1].tolist()


def _next_states(runs: Iterable[Array], steps: np.ndarray, ahead: Ahead | None) -> Array:
    """Return the states of the next window as one, each run of them given to `ahead` before the next is asked for."""
    slots = len(steps) - 1
    if ahead is not None and not ahead.begin(steps[:-1], np.diff(steps)):
        ahead = None
    found: list[Array] = []
    for rows in runs:
        found.append(rows)
        if ahead is not None and slots:
            # The last state only ends a slot.
            rows = rows[: min(slots, int(rows.shape[0])), ...]
            slots -= int(rows.shape[0])
            ahead.add(rows)
    if ahead is not None:
        ahead.end()
    return found[0] if len(found) == 1 else namespace(found[0]).concat(found, axis=0)


def _jacobians(
    take: TakeAll, window: SlidingWindow, found: Evaluation, count: int, begins: np.ndarray, lengths: np.ndarray
) -> Array:
    """Return the Jacobians of the last slot that is accepted and of those after it."""
    tail = slice(count - 1, None)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = window.states[:-1, ...][tail, ...]
        return full.jacobians(take, rows, found.images[tail, ...], begins[tail], lengths[tail])


def _correct(
    phi: Phi,
    window: SlidingWindow,
    found: Arriving,
    image: Array,
    count: int,
    begins: np.ndarray,
    lengths: np.ndarray,
    settings: NewtonSettings,
    curvature: Curvature | None,
    matrices: Array | None,
) -> Iterator[Array]:
    """Yield the states after the accepted ones, corrected, in runs of rows; the first is `image`, the last accepted."""
    yield image
    number = window.first // settings.interval
    if settings.jacobian == "identity" and is_split(phi):
        state = image
        for slots, gradients in found.gradients(count):
            states = picard.correct_by_recurrence(phi, state, gradients, begins[slots], lengths[slots])
            state = states[-1:, ...]
            yield states[1:, ...]
        return
    if settings.jacobian != "identity" or group_length(window.slots) > 1:
        # All of them in one run.
        found.all()
    before = None
    # The last slot that is accepted is the first whose residual passes on to the right.
    for slots, images in found.images(count - 1):
        states = window.states[slots.start + 1 : slots.stop + 1, ...]
        with np.errstate(over="ignore", invalid="ignore"):
            residuals = images - states
            if settings.jacobian == "identity":
                corrections = picard.correct_by_sums(residuals, number + slots.start, window.slots, before)
            elif matrices is not None:
                squares = row_norms(images, states)
                corrections = full.correct_by_jacobians(
                    matrices, residuals, squares, number + slots.start, window.slots
                )
            else:
                assert curvature is not None
                corrections = low_rank.correct_by_curvature(curvature, residuals, number + slots.start, window.slots)
            before = corrections[-1:, ...]
            moved = states + corrections
        # The accepted state is Phi of one, without rounding.
        moved = moved[1:, ...] if slots.start == count - 1 else moved
        if moved.shape[0]:
            yield moved


def _curvature(
    take: TakeAll,
    window: SlidingWindow,
    found: Evaluation,
    begins: np.ndarray,
    lengths: np.ndarray,
    settings: NewtonSettings,
    known: Curvature | None,
) -> Curvature | None:
    """Return the curvature that this sweep's correction uses."""
    if known is not None and known.age + 1 < settings.refresh:
        return replace(known, age=known.age + 1)
    curvature, slots = known, low_rank.sample(window.slots, settings.groups, settings.reach, settings.samples)
    basis = low_rank.first_basis(window.states[:1, ...], settings.rank) if known is None else known.following
    for _ in range(settings.start_up if known is None else 1):
        differences = low_rank.mean_differences(
            take, window.states[:-1, ...], found.images, begins, lengths, basis, slots
        )
        curvature = low_rank.refreshed(basis, differences, window.first // settings.interval, window.slots)
        basis = curvature.following
    return curvature
