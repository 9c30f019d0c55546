"""Exclusive or: the paper's three-layer problem (section 2.1, equation 2, appendix A)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.mlp import MLP
from daskmgrit.problems.problem import Problem, Tuned

__all__ = ["xor"]


def xor(seed: int = 1) -> Problem:
    """Return the XOR problem: 3-4-1 nodes, 16 weights, 4 examples.

    Parameters
    ----------
    seed : int, default 1
        Seed of the initial weights, uniform in [-1, 1).

    Notes
    -----
    alpha_b is 1, as the paper's text says and its numbers show; the captions' 0.1 is a misprint.
    """
    x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=float)
    y = np.array([[0], [1], [1], [0]], dtype=float)
    model = MLP([3, 4, 1])
    w0 = 2 * np.random.RandomState(seed).random_sample(model.size) - 1

    def metrics(final: NDArray) -> dict[str, float]:
        return {
            "loss": float(model.loss(final, x, y)),
            "mean_absolute_error": float(np.abs(model.predict(final, x) - y).mean()),
        }

    return Problem("xor", model, x, y, w0, 1.0, 8.0, 1, "1", "zero", 400, metrics, Tuned("1", 5.0, max_stages=8))
