"""An estimate of alpha_max: the Hessian's largest eigenvalue, by power iteration on differences of gradients."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.stabilise import PHI_OF_RATE, RatedPhi
from daskmgrit.coarse.window import coarsening_option
from daskmgrit.recurrence.amplification import is_ordinary, nan_in_words
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.propagator import apply_phi
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.array_api import move_like, to_host
from daskmgrit.utils.per_level import growth
from daskmgrit.utils.validation import callable_option, integer_option, number_option

__all__ = ["RateEstimate", "estimate_max_rate"]

Array = NDArray
logger = logging.getLogger("daskmgrit")

# Times the length of the initial weights beyond which weights have grown.
GROWN = 3.0


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The result of :func:`estimate_max_rate`.

    Attributes
    ----------
    max_rate : float
        The estimate of alpha_max: ``safety * 2 / eigenvalue``; inf where no state has positive curvature.
    eigenvalue : float
        The largest eigenvalue of the Hessian that was seen.
    safety : float
        The factor taken off the bound ``2 / eigenvalue``.
    eigenvalues : list of float
        The largest eigenvalue at each state.
    steps : list of int
        The training steps of the states.
    iterations : int
        Power iterations done.
    settled : bool
        Whether the eigenvalues had settled to within one per cent.
    phi_evaluations : int
        State updates spent, with the serial steps that led to the states.
    """

    max_rate: float
    eigenvalue: float
    safety: float
    eigenvalues: list[float]
    steps: list[int]
    iterations: int
    settled: bool
    phi_evaluations: int

    def __str__(self) -> str:
        bound = 2 / self.eigenvalue if self.eigenvalue > 0 else math.inf
        end = "" if self.settled else "; not settled, so it may be larger: give more iterations"
        return "\n".join(
            [
                f"largest eigenvalue  {self.eigenvalue:.4g} of the Hessian, at step "
                f"{self.steps[int(np.argmax(self.eigenvalues))]}, after {self.iterations} power iterations{end}",
                f"looked at           {len(self.steps)} states of the steps 0 to {self.steps[-1]}; curvature may grow "
                "later",
                f"stability bound     2 / {self.eigenvalue:.4g} = {bound:.4g}",
                f"alpha_max           {self.safety:g} x {bound:.4g} = {self.max_rate:.4g}, the first the safety factor",
                f"Phi evaluations     {self.phi_evaluations}",
            ]
        )


def estimate_max_rate(
    phi_of_rate: RatedPhi,
    w0: Any,
    rate: float,
    steps: int = 64,
    states: int = 8,
    level: int = 0,
    coarsening: int | Sequence[int] = 2,
    iterations: int = 30,
    safety: float = 0.8,
    seed: int = 0,
) -> RateEstimate:
    """Estimate alpha_max, the largest rate at which plain descent is stable.

    Parameters
    ----------
    phi_of_rate : callable
        ``phi_of_rate(weights (k, s), index (k,), level, rate) -> new weights (k, s)``: one step of descent at `rate`,
        ``w - rate * g(w)``. For the built-in problems: ``problem.propagator("4").at_rate``.
    w0 : array_like, shape (s,)
        The initial state.
    rate : float
        alpha_b, the rate to train at.
    steps : int, default 64
        Serial steps to take from w0: curvature grows in training, so one state is not enough. The estimate knows
        nothing of later steps. 0: w0 alone.
    states : int, default 8
        Number of these states, evenly spread, that are examined, all in one block.
    level : int, default 0
        The level whose gradients count: where coarse steps see a window of data, their gradients are less noisy than
        those of level 0, and the stable rate is larger.
    coarsening : int or sequence of int, default 2
        Coarsening factor, or factors, that `level` refers to.
    iterations : int, default 30
        Maximum number of power iterations. Each is one call with twice `states` rows; they end when the eigenvalues
        change by less than one per cent.
    safety : float, default 0.8
        Factor on the bound ``2 / eigenvalue``, at most 1, because curvature may be larger at states not examined.
    seed : int, default 0
        Seed of the vector that the iteration starts with.

    Returns
    -------
    RateEstimate
        ``print`` it to see the estimate and the safety factor.

    Raises
    ------
    TypeError
        If `phi_of_rate` is not callable.
    ValueError
        If a value is out of range, or phi_of_rate gives nan or inf.
    PropagatorError
        If phi_of_rate returns the wrong shape or dtype, or writes to its input.

    Notes
    -----
    ``H v`` is ``(g(w + d v) - g(w - d v)) / (2 d)`` with ``d`` the cube root of the machine precision times the size of
    w. The eigenvalue is the largest Ritz value over all vectors of the power iteration (the Lanczos recurrence), so few
    iterations suffice, and a negative eigenvalue of larger modulus does no harm.

    Examples
    --------
    >>> def descend(weights, index, level, rate):
    ...     return weights - rate * weights * np.array([0.1, 1.0, 4.0])
    >>> print(estimate_max_rate(descend, np.ones(3), rate=0.1, steps=8))
    largest eigenvalue  4 of the Hessian, at step 5, after 4 power iterations
    looked at           8 states of the steps 0 to 8; curvature may grow later
    stability bound     2 / 4 = 0.5
    alpha_max           0.8 x 0.5 = 0.4, the first the safety factor
    Phi evaluations     72
    """
    callable_option("phi_of_rate", phi_of_rate, 4, PHI_OF_RATE)
    state = initial_state(w0)
    block = state.block(phi_of_rate)
    rate = number_option("rate", rate, "a learning rate is a positive number", above=0)
    steps = integer_option("steps", steps, 0, "it is the number of serial steps to take from w0")
    states = integer_option("states", states, 1, "it is the number of states to look at")
    iterations = integer_option("iterations", iterations, 1, "it is the maximum number of power iterations")
    level = integer_option("level", level, 0, "it is the level whose gradients count", most=60)
    seed = integer_option("seed", seed, 0, "it is the seed of the first vector")
    coarsening = coarsening_option(coarsening)
    safety = number_option("safety", safety, "it is a factor in (0, 1]", above=0, below=1 + 1e-12)

    def moved_by(states: Array, steps: Array, level: int) -> Array:
        """Return host states after a step of descent."""
        step = apply_phi(partial(_at, phi_of_rate, rate), move_like(states, block), steps, level)
        finite = np.isfinite(moved := to_host(step)).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            if is_ordinary(states[row], state.host):
                raise ValueError(nan_in_words(level, int(steps[row])))
            raise ValueError(
                f"phi_of_rate returned nan or inf on level {level} at rate={rate}: lower the rate, or take fewer steps"
            )
        return moved

    chosen = sorted({round(i * steps / max(states - 1, 1)) for i in range(states)})
    kept, now = [], state.host[None]
    for i in range(chosen[-1] + 1):
        if i in chosen:
            kept.append(now)
        if i < chosen[-1]:
            now = moved_by(now, np.array([i]), 0)
    points = np.concatenate(kept)
    index = np.array(chosen) // int(growth(coarsening, level))
    count = chosen[-1]

    def hessian(vectors: Array) -> Array:
        """Return ``H v`` of each state; the vectors are unit ones."""
        scale = np.maximum(np.abs(points).max(axis=1, keepdims=True), 1.0)
        d = np.cbrt(np.finfo(points.dtype).eps).astype(points.dtype) * scale * math.sqrt(points.shape[1])
        both = np.concatenate((points + d * vectors, points - d * vectors))
        gradient = (both - moved_by(both, np.concatenate((index, index)), level)) / rate
        return (gradient[: len(points)] - gradient[len(points) :]) / (2 * d)

    vectors = np.random.default_rng(seed).standard_normal(points.shape).astype(points.dtype)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before, beta = np.zeros_like(vectors), np.zeros((len(points), 1), points.dtype)
    tridiagonal = np.zeros((len(points), iterations, iterations))
    largest, done, settled = np.full(len(points), -np.inf), 0, False
    while done < iterations and not settled:
        moved = hessian(vectors) - beta * before
        alpha = (vectors * moved).sum(axis=1, keepdims=True)
        moved -= alpha * vectors
        tridiagonal[:, done, done] = alpha[:, 0]
        count, done = count + 2 * len(points), done + 1
        found = np.linalg.eigvalsh(tridiagonal[:, :done, :done]).max(axis=1)
        settled = done > 1 and bool((np.abs(found - largest) <= 0.01 * np.abs(found)).all())
        largest = found
        beta = np.linalg.norm(moved, axis=1, keepdims=True)
        if done < iterations:
            tridiagonal[:, done, done - 1] = tridiagonal[:, done - 1, done] = beta[:, 0]
        # A vector that vanishes means that its state has no further eigenvalues to show.
        before, vectors = vectors, np.divide(moved, beta, out=np.zeros_like(moved), where=beta > 0)
    top = float(largest.max())
    # Where weights have grown, curvature is that of a training which has diverged already.
    lengths = row_lengths(points)
    sound = float(largest[lengths <= GROWN * max(1.0, lengths[0])].max())
    if level == 0 and sound * rate > 2:
        logger.warning(
            "descent at rate=%g may diverge or oscillate: it is beyond the bound of stability, 2 / %.4g = %.4g",
            rate,
            sound,
            2 / sound,
        )
    best = safety * 2 / top if top > 0 else math.inf
    return RateEstimate(best, top, safety, [float(v) for v in largest], chosen, done, settled, count)


def _at(phi_of_rate: RatedPhi, rate: float, weights: Array, index: Array, level: int) -> Array:
    return phi_of_rate(weights, index, level, rate)
