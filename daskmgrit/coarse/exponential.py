"""The exponential step: M steps of plain descent at once, on the quadratic model of a small net's loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["GROWTH", "LARGEST", "check_size", "exponential_step", "hessian", "mean_decay"]

Array = NDArray
Gradient = Callable[[Array], Array]

# A mode of negative curvature grows by no more in a step: the quadratic says nothing so far from the state.
GROWTH = 2.0
# Weights of a net up to which a Hessian for each state is affordable: half a MB.
LARGEST = 256


def check_size(weights: int) -> None:
    """Check that a net is small enough for a Hessian.

    Raises
    ------
    ValueError
        If the net has too many weights.
    """
    if weights > LARGEST:
        raise ValueError(
            f'coarse="exponential" takes a Hessian of each state, for at most {LARGEST} weights, but the net has '
            f'{weights}: give "chebyshev"'
        )


def hessian(gradient: Gradient, weights: Array) -> Array:
    """Return the Hessian of each state, symmetric, by central differences of gradients.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``.
    weights : ndarray, shape (k, s)
        k states.

    Returns
    -------
    ndarray, shape (k, s, s)
    """
    shift = np.finfo(weights.dtype).eps ** (1 / 3)
    found = np.empty((*weights.shape, weights.shape[1]), weights.dtype)
    for j in range(weights.shape[1]):
        # One call each, of the same states with the same data; none waits for another.
        up, down = weights.copy(), weights.copy()
        up[:, j] += shift * (1 + abs(weights[:, j]))
        down[:, j] -= shift * (1 + abs(weights[:, j]))
        found[:, j] = (gradient(up) - gradient(down)) / (up[:, j] - down[:, j])[:, None]
    return (found + found.transpose(0, 2, 1)) / 2


def mean_decay(curvature: Array, rate: float, count: float, growth: float) -> Array:
    """Return ``(1 - (1 - a l)**M) / l``, its limit ``M a`` at l = 0, with ``(1 - a l)**M`` kept in [-1, growth]."""
    z = rate * curvature
    power = np.where(z < 1, 1, np.where(np.floor(count) % 2, -1, 1))
    with np.errstate(divide="ignore", over="ignore"):
        exponent = count * np.log1p(np.where(z < 1, -z, z - 2))
    # A mode beyond 2/a grows under plain steps; a step that is to be stable keeps its size.
    exponent = np.minimum(exponent, np.where(z < 1, np.log(growth), 0))
    decay = np.where(power > 0, -np.expm1(exponent), 1 + np.exp(exponent))
    small = abs(z) * count < np.finfo(curvature.dtype).eps
    return np.where(small, rate * count, decay / np.where(small, 1, curvature))


def exponential_step(gradient: Gradient, weights: Array, length: float, rate: float, growth: float = GROWTH) -> Array:
    """Take the ``M = length / rate`` plain steps of `rate` that a coarse step stands for, at once.

    Parameters
    ----------
    gradient : callable
        ``gradient(weights (k, s)) -> (k, s)``, a new array.
    weights : ndarray, shape (k, s)
        k states, of some tens of weights: 2 s + 1 gradients are taken, and s**3 operations.
    length : float
        The learning rate of the fine steps that the step stands for, together.
    rate : float
        a, the learning rate of a fine step.
    growth : float, default 2
        A mode of negative curvature grows at most by this factor.

    Raises
    ------
    ValueError
        If states have more than 256 weights.

    Notes
    -----
    ``w - (1 - (1 - a H)**M) / H g``, H the Hessian by differences: on a quadratic equal to M plain steps, to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> curvature = np.array([0.0, 1.0])
    >>> exponential_step(lambda w: curvature * w - [1.0, 0.0], np.ones((1, 2)), 1.0, 0.5).round(6).tolist()
    [[2.0, 0.25]]
    """
    check_size(weights.shape[1])
    slope = gradient(weights)
    curvature = hessian(gradient, weights)
    # LAPACK refuses nan and inf; such a state has diverged, and that is for the solve to see.
    lost = ~(np.isfinite(slope).all(axis=1) & np.isfinite(curvature).all(axis=(1, 2)))
    curvature[lost], slope[lost] = 0, np.nan
    values, modes = np.linalg.eigh(curvature)
    along = np.matmul(modes.transpose(0, 2, 1), slope[:, :, None])[:, :, 0]
    along *= mean_decay(values, rate, length / rate, growth).astype(weights.dtype, copy=False)
    moved: Array = weights - np.matmul(modes, along[:, :, None])[:, :, 0]
    return moved
