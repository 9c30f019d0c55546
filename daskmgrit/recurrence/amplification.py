"""The amplification of a small change of the state by the steps of a level, along a run of them.

If steps of level 0 amplify it, serial training itself diverges, or oscillates without an end. If those of a coarse
level do and those of level 0 do not, the coarse steps are too long.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from daskmgrit.errors import name_step
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.propagator import Phi, apply_phi
from daskmgrit.recurrence.trial import alike
from daskmgrit.utils.array_api import Array, move_like, namespace, to_host

__all__ = ["Amplification", "PairRun", "is_ordinary", "nan_in_words", "run_of", "same_steps"]

# The factors per step beyond which a run amplifies: in both halves; or in both if steps grow as fast. Slower growth is
# that of negative curvature, of the first steps of Adam, or of the kinks of a net in single precision, which training
# passes.
BOTH, GROWING = 1.3, 1.1
# Those in the later half if each step turns the change around, as steps beyond the stable bound do, by a mean cosine of
# at most that much: the clearer, the slower.
AROUND = ((1.02, -0.5), (1.005, -0.8))
# Steps of the part of a run of level 0 that must amplify.
PART = 32
# The factor per step, over that of the steps of level 0 that it stands for, beyond which a coarse step is too long.
BEYOND = 1.2
# A state has not grown if it is no larger than this multiple of the first.
ORDINARY = 1e3


def is_ordinary(state: np.ndarray, first: np.ndarray) -> bool:
    """Whether a state is finite and has not grown since the first, so that what a step makes of it is its own fault."""
    size, before = (_length(each.reshape(1, -1)) for each in (state, first))
    return math.isfinite(size) and size <= ORDINARY * max(1.0, before)


def same_steps(before: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> bool:
    """Whether steps of two levels take these states to the same ones; not where no step changes anything."""
    return np.array_equal(fine, coarse) and not np.array_equal(fine, before)


def nan_in_words(level: int, step: int, before: int = 0) -> str:
    """Return in words that a step makes nan or inf of an ordinary state, and the remedy.

    Parameters
    ----------
    level, step : int
        The step.
    before : int, default 0
        Steps of phi on that level before step 0.
    """
    return (
        f"phi returns nan or inf on level {level}, {name_step(step, before)}, for weights that are finite and have not "
        "grown: check the data of that step; and if the state holds what must stay positive, such as second moments, "
        "let it hold the square roots"
    )


@dataclass(frozen=True, slots=True)
class Amplification:
    """A level whose steps amplify a small change of the state, or have another defect.

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
    cause : {"growth", "nan", "noise", "short"}
        Whether they amplify; or one step made nan or inf of an ordinary state; or two results for one state differ; or
        a coarse step is a fine one.
    before : int
        Steps of phi on the level before step 0.
    at_end : bool
        Whether they were taken from the final weights on, with the numbers of the last steps.
    """

    level: int
    steps: int
    total: float
    cap: int | None = None
    rate: float | None = None
    first: int = 0
    cause: str = "growth"
    before: int = 0
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class PairRun:
    """A run of steps with a small change of the state, which is brought back to its size after each.

    Attributes
    ----------
    logs : list of float
        Logarithm of the factor of each step.
    turns : list of float
        Cosine of the angle by which each step turns the change.
    lengths : list of float
        2-norm of each step.
    finite : bool
        Whether all states are finite.
    cause : str
        As of :class:`Amplification`: of states that are not finite, or of a run that noise has ended.
    """

    logs: list[float]
    turns: list[float]
    lengths: list[float]
    finite: bool = True
    cause: str = "growth"

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
        """Return the first part of these steps, of level 0, that amplifies or has another defect; None if none does."""
        done = len(self.logs)
        if self.cause != "growth":
            return Amplification(0, 1, math.inf, first=done, cause=self.cause)
        if not self.finite:
            return Amplification(0, done + 1, math.inf)
        for first, run in self._parts():
            if run.oscillates() or run.grows():
                return run.named(first)
        return None

    def found_at_the_end(self, steps: int) -> Amplification | None:
        """Return the first part of these steps that amplifies by oscillation, if they are the last of `steps`.

        They begin with the weights after them, from which other growth may be that of a start in another place.
        """
        for first, run in self._parts():
            if run.oscillates():
                return replace(run.named(steps - len(self.logs) + first), at_end=True)
        return None

    def _parts(self) -> Iterator[tuple[int, PairRun]]:
        for first in range(0, max(1, len(self.logs) - PART + 1), PART // 2):
            part = slice(first, first + PART)
            yield first, PairRun(self.logs[part], self.turns[part], self.lengths[part])

    def named(self, first: int) -> Amplification:
        """Return the amplification by these steps, the first of which is `first`; by the later half if it has more."""
        middle = len(self.logs) // 2
        later = replace(self, logs=self.logs[middle:])
        run, first = (later, first + middle) if later.total > self.total else (self, first)
        return Amplification(0, len(run.logs), run.total, first=first)

    def oscillates(self) -> bool:
        """Whether steps of the later half turn the change around and amplify it."""
        _, later = self.halves()
        around = self.turns[len(self.logs) // 2 :]
        return any(later >= factor and sum(around) <= cosine * len(around) < 0 for factor, cosine in AROUND)

    def grows(self) -> bool:
        """Whether steps of both halves amplify the change much."""
        earlier, later = self.halves()
        middle = len(self.logs) // 2
        first, between, last = self.lengths[0], self.lengths[middle], self.lengths[-1]
        grows = between >= first * GROWING**middle and last >= between * GROWING ** (len(self.lengths) - 1 - middle)
        return min(earlier, later) >= (GROWING if grows else BOTH)

    def is_beyond(self, serial: PairRun, length: float) -> bool:
        """Whether these steps, each of which stands for `length` steps of level 0, amplify more than those do."""
        if not self.finite:
            return True
        # The first half may pass, as the first steps of Adam do.
        (_, own), (_, known) = self.halves(), serial.halves(len(self.logs))
        return own >= BEYOND * max(1.0, known) ** length


def run_of(
    phi: Phi,
    start: Array,
    level: int,
    steps: int,
    last: int | None = None,
    ends: float = math.inf,
    begin: int = 0,
) -> PairRun:
    """Take steps of a level from a state, twice, and from one near it in a random direction.

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
    begin : int, default 0
        The number of the first step.

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
    change *= _size(host, root) / _length(change)
    run, first = PairRun([], [], []), host
    with np.errstate(all="ignore"):
        for step in range(steps):
            if time.perf_counter() > ends:
                break
            rows = xp.concat([state, state + move_like(change, state), state], axis=0)
            number = begin + step if last is None else min(begin + step, last)
            before_step = to_host(state)
            new = apply_phi(phi, rows, np.full(3, number), level)
            host = to_host(new)
            if not np.isfinite(host).all():
                return replace(run, finite=False, cause="nan" if is_ordinary(before_step, first) else "growth")
            if not alike(host[0], host[2]):
                return replace(run, cause="noise")
            run.lengths.append(_length(host[:1] - before_step))
            after = host[1:2] - host[:1]
            before, length = _length(change), _length(after)
            if not length > 0:
                # A step that forgets the change amplifies nothing.
                run.logs.append(-math.inf)
                break
            run.logs.append(math.log(length / before))
            run.turns.append(float(np.vdot(change / before, after / length).real))
            state = new[:1, ...]
            change = (after * (_size(host[:1], root) / length)).astype(host.dtype)
    return run


def _size(state: np.ndarray, root: float) -> float:
    """Return the size of a change that shows in its image, and is small."""
    return root * max(1.0, _length(state))


def _length(state: np.ndarray) -> float:
    """Return the 2-norm of a state (1, s), also where its square overflows."""
    return float(row_lengths(state)[0])
