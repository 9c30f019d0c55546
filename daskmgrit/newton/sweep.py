"""One sweep over a window: evaluate its slots, accept a prefix, correct the rest, slide."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from daskmgrit.errors import Diverged
from daskmgrit.newton import full, low_rank, picard
from daskmgrit.newton.acceptance import accept, is_exact, unit_of
from daskmgrit.newton.error_estimate import accept_growth, known_growth
from daskmgrit.newton.evaluate import Evaluation, Take, evaluate, residual_norm, residual_squares
from daskmgrit.newton.low_rank import Curvature
from daskmgrit.newton.scan import doublings
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import new_pace
from daskmgrit.newton.window import SlidingWindow, fitting_slots, slide, slot_steps
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.norms import row_lengths, row_norms
from daskmgrit.recurrence.propagator import Phi, steps_before
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["SweepReport", "Swept", "sweep"]


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
    """The window after a sweep, the known curvature, and the accepted states (a, s) where slots end."""

    window: SlidingWindow
    curvature: Curvature | None
    accepted: Array
    report: SweepReport


class _Asked:
    """Evaluates slots and counts the states."""

    def __init__(self, take: Take) -> None:
        self.take, self.evaluations = take, 0

    def __call__(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Evaluation:
        self.evaluations += int(lengths.sum())
        return self.take(states, begins, lengths)


def sweep(
    meter: Meter,
    window: SlidingWindow,
    settings: NewtonSettings,
    curvature: Curvature | None = None,
    take: Take | None = None,
) -> Swept:
    """Sweep once over a window.

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

    Raises
    ------
    Diverged
        If Phi of an accepted state is not finite, so that serial training diverges there, too.
    """
    n, interval = window.slots, settings.interval
    asked = _Asked(take or partial(evaluate, meter))
    ends = slot_steps(window.first, n, settings.steps, interval)
    begins, lengths = ends[:-1], np.diff(ends)
    found = asked(window.states[:-1, ...], begins, lengths)
    unit = unit_of(settings.tol)
    squares = residual_squares(found.images, window.states[1:, ...], is_exact(settings.tol), unit)
    count, spent = accept(squares, window.spent, ends[1:], settings.steps, math.ldexp(settings.tol, -unit))
    last = found.images[count - 1 : count, ...]
    if not np.isfinite(to_host(last)).all():
        raise Diverged(0, int(begins[count - 1]), meter.cycle, steps_before(meter.phi, 0))
    xp = namespace(last)
    accepted = xp.concat([window.states[1:count, ...], last], axis=0)
    growth = accept_growth(window.growth, meter.phi, window.states[:count, ...], found, accepted, begins)
    first, pace = int(ends[count]), new_pace(window.pace, count)
    depth = int(lengths[0])
    if first < settings.steps:
        if settings.jacobian == "lowrank":
            depth += settings.start_up if curvature is None else 0
            curvature = _curvature(asked, window, found, begins, lengths, settings, curvature)
        matrices = _jacobians(asked, window, found, count, begins, lengths) if settings.jacobian == "full" else None
        states = _correct(meter.phi, window, found, count, begins, lengths, settings, curvature, matrices)
        moved = row_lengths(states, window.states[count:, ...])
        slots = fitting_slots(first, settings.size.next(n, pace, moved), settings.steps, interval)
        growth = known_growth(
            growth, window.states[:-1, ...], found, count, slots, None if matrices is None else matrices[1:, ...]
        )
        following = SlidingWindow(first, slide(states, slots), spent, pace, growth)
    else:
        following = SlidingWindow(first, last, spent, pace, growth)
    report = SweepReport(
        window.first,
        n,
        first - window.first,
        residual_norm(found.images, window.states[1:, ...], squares, unit),
        depth,
        doublings(n),
        asked.evaluations,
    )
    return Swept(following, curvature, accepted, report)


def _jacobians(
    take: Take, window: SlidingWindow, found: Evaluation, count: int, begins: np.ndarray, lengths: np.ndarray
) -> Array:
    """Return the Jacobians of the last slot that is accepted and of those after it."""
    tail = slice(count - 1, None)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = window.states[:-1, ...][tail, ...]
        return full.jacobians(take, rows, found.images[tail, ...], begins[tail], lengths[tail])


def _correct(
    phi: Phi,
    window: SlidingWindow,
    found: Evaluation,
    count: int,
    begins: np.ndarray,
    lengths: np.ndarray,
    settings: NewtonSettings,
    curvature: Curvature | None,
    matrices: Array | None,
) -> Array:
    """Return the states after the accepted ones, corrected; the first is the last accepted one."""
    # The last slot that is accepted is the first whose residual passes on to the right.
    tail = slice(count - 1, None)
    number, image = window.first // settings.interval + count - 1, found.images[count - 1 : count, ...]
    if settings.jacobian == "identity" and is_split(phi) and found.gradients is not None:
        rest = tuple(rows[count:, ...] for rows in found.gradients)
        return picard.correct_by_recurrence(phi, image, rest, begins[count:], lengths[count:])
    states = window.states[1:, ...][tail, ...]
    with np.errstate(over="ignore", invalid="ignore"):
        residuals = found.images[tail, ...] - states
        if settings.jacobian == "identity":
            corrections = picard.correct_by_sums(residuals, number, window.slots)
        elif matrices is not None:
            lengths_squared = row_norms(found.images[tail, ...], states)
            corrections = full.correct_by_jacobians(matrices, residuals, lengths_squared, number, window.slots)
        else:
            assert curvature is not None
            corrections = low_rank.correct_by_curvature(curvature, residuals, number, window.slots)
        return picard.move(states, corrections, image)


def _curvature(
    take: Take,
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
