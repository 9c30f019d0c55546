"""The largest curvatures along a rough training run: what a deflated coarse step knows of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.chebyshev import chebyshev_stages, chebyshev_step
from daskmgrit.recurrence.propagator import NOT_PREPARED, Preparation
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Curvatures", "find_curvatures"]

Array = NDArray
Gradient = Callable[[Array], Array]

# Vectors beyond those that are kept, and multiplications by the Hessian: of a first state, and of one whose iteration
# begins with the vectors of the state before. More of either changed no count of cycles.
SPARE, FIRST, NEXT = 8, 3, 1


@dataclass(frozen=True, eq=False)
class Curvatures:
    """Eigenvectors of the largest curvatures at p states of a rough run, see :func:`find_curvatures`.

    Attributes
    ----------
    times : ndarray, shape (p,)
        Where the states are: the sum of the learning rates up to there.
    states : ndarray, shape (p, s)
        The states.
    modes : ndarray, shape (p, s, r)
        V of each state: orthonormal, the r eigenvalues of largest modulus.
    values : ndarray, shape (p, r)
        The eigenvalues.
    rest : ndarray, shape (p,)
        The largest modulus of the others, 0 if there are none.
    preparation : Preparation
        The gradients that were taken.
    """

    times: Array
    states: Array = field(repr=False)
    modes: Array = field(repr=False)
    values: Array = field(repr=False)
    rest: Array = field(repr=False)
    preparation: Preparation = NOT_PREPARED

    @property
    def rank(self) -> int:
        """Number of eigenvectors of each state."""
        return int(self.modes.shape[2])

    def astype(self, dtype: Any) -> Curvatures:
        """Return the same for states of another dtype."""
        return replace(self, states=self.states.astype(dtype), modes=self.modes.astype(dtype))

    def near(self, times: Array) -> Array:
        """Return the number of the state that is nearest to each time."""
        return np.searchsorted((self.times[1:] + self.times[:-1]) / 2, times, side="right")

    def guess(self, steps: int, rate: float) -> Array:
        """Return an initial guess, shape (steps + 1, s): lines from each state of the rough run to the next.

        Parameters
        ----------
        steps : int
            N.
        rate : float
            alpha_b, the learning rate of a step.
        """
        times = np.arange(steps + 1) * rate
        left = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 2)
        share = np.minimum((times - self.times[left]) / (self.times[left + 1] - self.times[left]), 1)
        share = share.astype(self.states.dtype)[:, None]
        guess: Array = (1 - share) * self.states[left] + share * self.states[left + 1]
        return guess

    def __repr__(self) -> str:
        return f"Curvatures(rank={self.rank}, states={len(self.times)}, length={self.times[-1]:g})"


def find_curvatures(gradient: Gradient, w0: Array, length: float, max_rate: float, rank: int = 32) -> Curvatures:
    """Train roughly, and find the largest curvatures on the way.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``, a new array: the mean of what the fine steps see.
    w0 : ndarray, shape (s,)
        The initial weights.
    length : float
        The learning rates of all steps of training together, N alpha_b.
    max_rate : float
        alpha_max, the largest stable rate of a plain step.
    rank : int, default 32
        r, the number of eigenvectors, at most s.

    Returns
    -------
    Curvatures

    Raises
    ------
    ValueError
        If a value is out of range, or the run gives nan or inf.

    Notes
    -----
    The rough run goes to `max_rate` and on to twice as far each time, until `length`, by a Chebyshev step each: as many
    states as doublings. At each a block iteration with products of the Hessian, which are central differences of
    gradients, and a Rayleigh-Ritz step. Nothing is random: the vectors to begin with are of a fixed seed.

    Examples
    --------
    >>> found = find_curvatures(lambda w: np.array([3.0, 0.1, 0.0, 1.0]) * w, np.ones(4), 8.0, 0.5, rank=2)
    >>> found.times.tolist(), found.values[0].round(3).tolist(), found.rest[0].round(3).tolist()
    ([0.0, 0.5, 1.0, 2.0, 4.0, 8.0], [3.0, 1.0], 0.1)
    """
    number_option("length", length, "it is that of the training, N alpha_b", above=0)
    number_option("max_rate", max_rate, "alpha_max is a positive number", above=0)
    rank = min(integer_option("rank", rank, 1, "it is the number of curvatures"), w0.size)
    times, states, path = [0.0], [w0], 0
    while times[-1] < length:
        end = min(2 * times[-1] or max_rate, length)
        step = end - times[-1]
        stages = chebyshev_stages(step, max_rate)
        states.append(chebyshev_step(gradient, states[-1][None], step, stages)[0])
        times.append(end)
        path += stages
        if not np.isfinite(states[-1]).all():
            raise ValueError(f"training of length {end:g} at alpha_max={max_rate:g} gives nan or inf: lower alpha_max")
    evaluations = path
    size = min(rank + SPARE, w0.size)
    block = np.linalg.qr(np.random.default_rng(0).standard_normal((w0.size, size)))[0].astype(w0.dtype)
    modes, values, rest = [], [], []
    for number, state in enumerate(states):
        count = FIRST if number == 0 else NEXT
        for _ in range(count):
            block = np.linalg.qr(_products(gradient, state, block))[0]
        small = block.T @ _products(gradient, state, block)
        found, turned = np.linalg.eigh((small + small.T).astype(float) / 2)
        order = np.argsort(-abs(found), kind="stable")
        block = block @ turned[:, order].astype(block.dtype)
        modes.append(block[:, :rank])
        values.append(found[order[:rank]])
        rest.append(abs(found[order[rank]]) if size > rank else 0.0)
        path += count + 1
        evaluations += (count + 1) * 2 * size
    done = Preparation(evaluations, path)
    return Curvatures(np.array(times), np.array(states), np.array(modes), np.array(values), np.array(rest), done)


def _products(gradient: Gradient, state: Array, vectors: Array) -> Array:
    """Return the Hessian at a state times unit vectors, shape (s, b)."""
    products = np.empty_like(vectors)
    shift = np.finfo(state.dtype).eps ** (1 / 3) * max(float(abs(state).max()), 1.0) * state.size**0.5
    for j in range(vectors.shape[1]):
        move = state.dtype.type(shift) * vectors[:, j]
        up, down = gradient(np.stack((state + move, state - move)))
        products[:, j] = (up - down) / (2 * shift)
    return products
