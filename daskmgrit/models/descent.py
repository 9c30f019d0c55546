"""Gradient descent as a Phi: ``w - alpha * gradient`` (paper, equation 9)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.data import DataRule
from daskmgrit.models.rates import RateRule
from daskmgrit.models.workspace import scratch

__all__ = ["GradientDescent"]

Array = NDArray

# States are taken in groups whose weights and layer values a core's cache holds: blocks of 50 to 800 states of 12,032
# or 2,410 weights ran 1.3 to 1.5 times faster so than at once.
GROUP_BYTES = 1 << 22


class Model(Protocol):
    """What gradient descent needs of a model."""

    def footprint(self, batch: int) -> int:
        """Return how many numbers one state takes while its gradient is computed."""

    def gradient(self, weights: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        """Return the loss gradient of each state."""


class GradientDescent:
    """One step of gradient descent on a block of states.

    Parameters
    ----------
    model : MLP or alike
        Has ``gradient(weights (k, s), x, y, out (k, s))``, which puts the loss gradient into `out`, and
        ``footprint(batch)``.
    x : ndarray, shape (K, n_in)
        Inputs of the training examples.
    y : ndarray, shape (K, n_out)
        Their targets.
    rate : RateRule
        Learning rate of a level.
    data : DataRule
        Examples of a step. Where the rule has a true attribute ``average``, a step sees their average instead.
    repeats : int, default 1
        Descents per step, all with the step's data and rate.

    Examples
    --------
    >>> from daskmgrit.models import MLP, AllExamples, ConstantRate
    >>> phi = GradientDescent(MLP([2, 1]), np.eye(2), np.ones((2, 1)), ConstantRate(0.1), AllExamples())
    >>> phi(np.zeros((3, 2)), np.arange(3), 0).shape
    (3, 2)
    """

    def __init__(self, model: Model, x: Array, y: Array, rate: RateRule, data: DataRule, repeats: int = 1) -> None:
        self.model, self.x, self.y, self.rate, self.data, self.repeats = model, x, y, rate, data, repeats
        self._average = bool(getattr(data, "average", False))

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step."""
        k = len(weights)
        sample = self.data(index[:1], level)
        batch = len(self.x) if sample is None else sample.shape[1]
        group = max(1, GROUP_BYTES // (self.model.footprint(batch) * weights.itemsize))
        new = np.empty(weights.shape, weights.dtype)
        rate = weights.dtype.type(self.rate(level))
        for start in range(0, k, group):
            rows = slice(start, min(start + group, k))
            chosen = self.data(index[rows], level)
            x, y = (self.x, self.y) if chosen is None else (self._take(self.x, chosen), self._take(self.y, chosen))
            if self._average and chosen is not None:
                x, y = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
            before = weights[rows]
            for repeat in range(self.repeats):
                if repeat:
                    before = new[rows].copy()
                self.model.gradient(before, x, y, new[rows])
                new[rows] *= -rate
                new[rows] += before
        return new

    def _take(self, rows: Array, chosen: Array) -> Array:
        """Gather the examples of each state, (k, B, n)."""
        shape = (*chosen.shape, rows.shape[1])
        name = "inputs" if rows is self.x else "targets"
        return np.take(rows, chosen, axis=0, out=scratch(name, shape, rows.dtype), mode="clip")

    def __repr__(self) -> str:
        return f"GradientDescent({self.model!r}, rate={self.rate!r}, data={self.data!r})"

    def _repr_html_(self) -> str:
        from daskmgrit.notebook import descent_view

        return descent_view(self)
