"""The amplification of a small change of the state by the steps of a level, along a run of them.

If steps of level 0 amplify it, serial training itself diverges, or oscillates without an end. If those of a coarse
level do and those of level 0 do not, the coarse steps are too long.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.utils.array_api import Array, move_like, namespace, to_host

__all__ = ["Amplification", "Run", "run_of"]

# The factors per step beyond which a run amplifies: in both halves, or in the later half if each step turns the change
# around, as steps beyond the stable bound do. Slower growth is that of negative curvature, which training passes.
BOTH, LATER, AROUND = 1.1, 1.02, -0.5
# Steps of the part of a run of level 0 that must amplify.
PART = 32
# The factor per step, over that of level 0, beyond which a coarse step is too long.
BEYOND = 1.2


@dataclass(frozen=True, slots=True)
class Amplification:
    """A level whose steps amplify a small change of the state.

    Attributes
    ----------
    level : int
        The finest such level.
    steps : int
        Number of steps that amplify.
    total : float
        Factor by which they amplify the change together; inf if the state became nan or inf.
    cap : int or None
        Number of fine steps that a step of the level before takes at once, if phi tells.
    rate : float or None
        Learning rate of the level before, if phi tells.
    first : int
        The first of these steps.
    """

    level: int
    steps: int
    total: float
    cap: int | None = None
    rate: float | None = None
    first: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run of steps with a small change of the state, which is brought back to its size after each.

    Attributes
    ----------
    logs : list of float
        Logarithm of the factor of each step.
    turns : list of float
        Cosine of the angle by which each step turns the change.
    finite : bool
        Whether all states are finite.
    """

    logs: list[float]
    turns: list[float]
    finite: bool = True

    def halves(self, steps: int | None = None) -> tuple[float, float]:
        """Return the mean factor of a step in each half, of the first `steps` steps."""
        logs = self.logs[:steps]
        middle = len(logs) // 2
        parts = logs[:middle], logs[middle:]
        earlier, later = (math.exp(min(700.0, sum(part) / max(1, len(part)))) for part in parts)
        return earlier, later

    @property
    def total(self) -> float:
        """Factor of all steps together."""
        return math.exp(min(700.0, sum(self.logs))) if self.finite else math.inf

    def found(self) -> Amplification | None:
        """Return the first part of these steps, of level 0, that amplifies; None if none does."""
        if not self.finite:
            return Amplification(0, len(self.logs) + 1, math.inf)
        for first in range(0, max(1, len(self.logs) - PART + 1), PART // 2):
            part = Run(self.logs[first : first + PART], self.turns[first : first + PART])
            earlier, later = part.halves()
            around = part.turns[len(part.turns) // 2 :]
            if min(earlier, later) >= BOTH or (later >= LATER and sum(around) <= AROUND * len(around) < 0):
                return Amplification(0, len(part.logs), part.total, first=first)
        return None

    def is_beyond(self, serial: Run) -> bool:
        """Whether these steps, of a coarse level, amplify where those of level 0 do not."""
        if not self.finite:
            return True
        pairs = zip(self.halves(), serial.halves(len(self.logs)), strict=True)
        return any(own >= BEYOND * max(1.0, known) for own, known in pairs)


def run_of(phi: Phi, start: Array, level: int, steps: int, last: int | None = None, ends: float = math.inf) -> Run:
    """Take steps of a level from a state, and from one near it in a random direction.

    Parameters
    ----------
    phi : callable
        The propagator.
    start : Array, shape (s,)
        The state.
    level : int
        The level.
    steps : int
        Number of steps.
    last : int, optional
        The step whose number all later ones take, too.
    ends : float
        Time by ``time.perf_counter`` after which no further step is taken.

    Examples
    --------
    >>> run = run_of(lambda weights, index, level: -1.5 * weights, np.ones(2), 0, 16)
    >>> [round(factor, 3) for factor in run.halves()], round(run.turns[0], 3), round(run.total)
    ([1.5, 1.5], -1.0, 657)
    """
    state = start[None, ...]
    xp = namespace(state)
    host = to_host(state)
    root = float(np.finfo(host.dtype).eps) ** 0.5
    change = np.random.default_rng(0).standard_normal(host.shape).astype(host.dtype)
    change *= _size(host, root) / np.linalg.norm(change)
    run = Run([], [])
    with np.errstate(all="ignore"):
        for step in range(steps):
            if time.perf_counter() > ends:
                break
            pair = xp.concat([state, state + move_like(change, state)], axis=0)
            number = step if last is None else min(step, last)
            new = apply_phi(phi, pair, np.array([number, number]), level)
            host = to_host(new)
            if not np.isfinite(host).all():
                return Run(run.logs, run.turns, finite=False)
            after = host[1:] - host[:1]
            before, length = float(np.linalg.norm(change)), float(np.linalg.norm(after))
            if not length > 0:
                # A step that forgets the change amplifies nothing.
                run.logs.append(-math.inf)
                break
            run.logs.append(math.log(length / before))
            run.turns.append(float(np.vdot(change, after).real) / (before * length))
            state = new[:1, ...]
            change = (after * (_size(host[:1], root) / length)).astype(host.dtype)
    return run


def _size(state: np.ndarray, root: float) -> float:
    """Return the size of a change that shows in its image, and is small."""
    return root * max(1.0, float(np.linalg.norm(state)))
