"""The number of steps that a sweep of parallel Newton accepts: assumed, given, or measured on a prefix of the run."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from daskmgrit.errors import Diverged
from daskmgrit.newton.contraction import edge_of_stability
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import Fixed
from daskmgrit.planning.cost import PhiCost
from daskmgrit.recurrence.amplification import is_ordinary, nan_in_words
from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.recurrence.split_propagator import is_split
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.array_api import to_host
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["ASSUMED_SWEEPS", "FEW", "LEAST", "USUAL", "Acceptance", "assumed", "given", "growth_of_steps", "measured"]

# About what networks with Adam at usual rates accept; longer windows accept hardly more.
USUAL = {1: 1.0, 2: 1.2, 4: 1.5, 8: 2.0}
ONE_AT_LEAST = "a sweep accepts at least one step"
# Slots for each accepted step from which on more hardly help.
LONG = 4
ASSUMED_SWEEPS = "assumed, as for networks with Adam at usual rates"
# Sweeps that tell something.
ENOUGH = 8
# Times that a Phi takes may be longer than the least by this factor, before that is something else.
SLACK = 1.5
# Slots of the windows that are measured.
WINDOWS = (4, 16, 64)
# Seconds of Phi that measuring may take, and the least and the most steps of the prefix.
SECONDS, LEAST, MOST = 4.0, 64, 400
# Steps that a sweep accepts below which training contracts too little.
FEW = 1.3
# Steps that get longer by this factor in the first half of a prefix, and again in the second, grow without end.
GROWING = 4.0


class Acceptance:
    """Steps that a sweep accepts, by the slots of the window.

    Parameters
    ----------
    known : dict of int to float
        Steps for some windows; between them it grows like a power of the slots, beyond the longest it stays.
    origin : str
        Their origin, in words.
    edge : float, optional
        alpha lambda_max of the prefix, if it is known: at 2 training is at the edge of stability.
    growth : str
        Growth of serial training itself, in words; empty if it does not grow, or is not known to.
    defect : str
        In words, that a step makes nan of weights that have not grown; empty if none is known to.
    least : float
        Lower bound, as a share of these steps: 1 if they are given, or of the whole run; else the share of the mean in
        the slower half of the prefix.
    own : float
        Seconds of the measurement besides Phi.
    """

    def __init__(
        self,
        known: Mapping[int, float],
        origin: str,
        edge: float | None = None,
        growth: str = "",
        least: float = 1.0,
        own: float = 0.0,
        defect: str = "",
    ) -> None:
        self._known, self.origin, self.edge, self.growth = {1: 1.0, **known}, origin, edge, growth
        self.least, self.own, self.defect = least, own, defect

    @property
    def most(self) -> float:
        """Maximum number of steps that a sweep accepts, with any window."""
        return max(self._known.values())

    def __call__(self, slots: int) -> float:
        """Return the steps that a sweep over `slots` slots accepts, at least 1."""
        if slots in self._known:
            return self._known[slots]
        slots_known = sorted(self._known)
        logs = [math.log(self._known[slots]) for slots in slots_known]
        return float(math.exp(np.interp(math.log(slots), np.log(slots_known), logs)))


def assumed() -> Acceptance:
    """Return the acceptance that is assumed for an unknown problem."""
    return Acceptance(USUAL, f"{ASSUMED_SWEEPS}; give --accepted, or --problem")


def given(accepted: float | Mapping[int, float]) -> Acceptance:
    """Return an acceptance that a user gives: by the slots of the window, or that of long windows.

    A number is the acceptance of windows of four times as many slots, as for networks; shorter ones accept less.

    Raises
    ------
    ValueError
        If a number is less than 1, or more than the slots.
    """
    if isinstance(accepted, str):
        raise ValueError(f"accepted={accepted!r}: give a number, or steps by slots as {{8: 2.5}}")
    if isinstance(accepted, Mapping):
        if not accepted:
            raise ValueError("accepted={} is empty: give steps by slots, as {8: 2.5}, or a number")
        known = {
            integer_option("accepted", slots, 1, "keys are slots of the window"): steps
            for slots, steps in accepted.items()
        }
        for slots, steps in known.items():
            if not 1 <= number_option("accepted", steps, ONE_AT_LEAST, least=1) <= slots:
                raise ValueError(f"accepted={accepted}: a sweep over {slots} slots accepts at most {slots}; give fewer")
        return Acceptance(known, f"as given for {' and '.join(map(str, sorted(known)))} slots")
    number_option("accepted", accepted, ONE_AT_LEAST, least=1)
    slots = math.ceil(LONG * accepted)
    return Acceptance({slots: accepted}, f"as given: {accepted:g} with {slots} slots or more, fewer with less")


def measured(
    phi: Phi,
    w0: Any,
    steps: int,
    cost: PhiCost,
    note: Callable[[str], Any] = print,
    seconds: float = SECONDS,
) -> Acceptance:
    """Return the acceptance of sweeps over windows of some lengths on the first steps of the run.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : ndarray, shape (s,)
        The initial state.
    steps : int
        N.
    cost : PhiCost
        Cost of Phi: the prefix is short for a costly Phi.
    note : callable, optional
        Called with progress messages.
    seconds : float, optional
        Approximate time of the measurement; it takes at least 64 steps of Phi. If sweeps take long besides Phi, for
        example to compile, fewer steps count.
    """
    # Windows of 4, 16 and 64 slots evaluate a step some 2, 4 and 10 times.
    prefix = min(steps, max(LEAST, min(MOST, int(seconds / (16 * cost.serial(1))))))
    note(f"sweeping over the first {prefix} steps with parallel Newton")
    known: dict[int, float] = {}
    parts, own = [1.0], 0.0
    ends, followed = time.perf_counter() + 2 * seconds, min(prefix, LEAST)
    for slots in WINDOWS:
        if slots >= prefix:
            break
        settings = NewtonSettings(prefix, 1e-9 * math.sqrt(prefix), size=Fixed(slots))
        clock = time.perf_counter()
        try:
            sweeps = solve_in_one_process(phi, w0, settings, ends=clock + (ends - clock) / 2).sweeps
        except Diverged:
            # So does serial training, somewhere in the prefix.
            known[slots], followed = 1.0, prefix
            break
        expected = len(sweeps) * cost.call + sum(sweep.evaluations for sweep in sweeps) * cost.state
        own += max(0.0, time.perf_counter() - clock - SLACK * expected)
        done = sum(sweep.accepted for sweep in sweeps)
        if done < prefix and len(sweeps) < ENOUGH:
            # There was no time for more.
            break
        known[slots] = done / len(sweeps)
        if prefix < steps:
            parts.append(_slower_half([sweep.accepted for sweep in sweeps]) / known[slots])
    # For an optimizer with moments there is no such bound.
    edge = None if is_split(phi) else edge_of_stability(phi, w0, min(prefix, LEAST))
    growth, defect = growth_of_steps(phi, w0, followed)
    origin = f"measured on the first {prefix} steps"
    return Acceptance(known or USUAL, origin if known else ASSUMED_SWEEPS, edge, growth, min(parts), own, defect)


def _slower_half(accepted: Sequence[int]) -> float:
    """Return the mean acceptance of a sweep in the half of the steps where it is smaller.

    Examples
    --------
    >>> _slower_half([4, 4, 2, 2, 2, 2])
    2.0
    """
    ends = list(itertools.accumulate(accepted))
    first = sum(end <= ends[-1] / 2 for end in ends)
    halves = [half for half in (accepted[:first], accepted[first:]) if half]
    return min(sum(half) / len(half) for half in halves)


def growth_of_steps(phi: Phi, w0: Any, steps: int) -> tuple[str, str]:
    """Return in words the growth of serial training's steps over the first `steps`, and a step that makes nan.

    Each is empty if there is none.

    Examples
    --------
    >>> growth_of_steps(lambda w, i, level: 3 * w, [1.0], 64)[0]
    'steps of serial training itself grow 1.1e+30-fold within 63 steps: if that lasts, training diverges'
    >>> growth_of_steps(lambda w, i, level: 0.9 * w, [1.0], 64)
    ('', '')
    """
    initial = initial_state(w0)
    before, state = initial.host, initial.block(phi)[None, ...]
    lengths = []
    for step in range(steps):
        state = apply_phi(phi, state, np.arange(step, step + 1), 0)
        after = to_host(state)[0]
        if not np.isfinite(after).all():
            if is_ordinary(before, initial.host):
                return "", nan_in_words(0, step)
            steps_done = f"{step + 1} step{'s' * (step > 0)}"
            return f"serial training itself diverges: its weights are not finite after {steps_done}", ""
        lengths.append(float(np.linalg.norm(after.astype(float) - before)))
        before = after.copy()
    first, middle, last = lengths[0], lengths[len(lengths) // 2], lengths[-1]
    # Steps of a rate that warms up grow, too, but not by the same factor again and again.
    if first > 0 and middle > GROWING * first and last > GROWING * middle:
        grow = f"steps of serial training itself grow {last / first:.2g}-fold within {steps - 1} steps"
        return f"{grow}: if that lasts, training diverges", ""
    return "", ""
