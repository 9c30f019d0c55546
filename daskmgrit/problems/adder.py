"""Addition of two binary numbers: the paper's four-layer problem (section 3.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.mlp import MLP
from daskmgrit.problems.problem import Problem, Tuned

__all__ = ["adder"]

BITS = 12
# Serial training gets 50 % of the bits right after 400 steps, 51 % after 6,400 and 58 % after 25,600.
REMARK = (
    "the paper's problem: it shows how many cycles many steps take, not a network that can add. Serial training is no "
    "better: it guesses bits for the first thousands of steps"
)


def _bits(numbers: NDArray) -> NDArray:
    """Return the binary digits, most significant first, shape (K, 12)."""
    return (numbers[:, None] >> np.arange(BITS - 1, -1, -1) & 1).astype(float)


def adder(seed: int = 1, examples: int = 500) -> Problem:
    """Return the addition problem: 24-128-64-12 nodes, 12,032 weights, pairs of numbers below 2**11.

    Parameters
    ----------
    seed : int, default 1
        Seed of the data and then of the initial weights, ``0.2*randn - 0.1``.
    examples : int, default 500
        Number of pairs.
    """
    random = np.random.RandomState(seed)
    left, right = ((random.random_sample(examples) * 2 ** (BITS - 1)).astype(int) for _ in range(2))
    x, y = np.concatenate((_bits(left), _bits(right)), axis=1), _bits(left + right)
    model = MLP([2 * BITS, 128, 64, BITS])
    w0 = 0.2 * random.standard_normal(model.size) - 0.1

    def metrics(final: NDArray) -> dict[str, float]:
        out = model.predict(final, x)
        return {
            "loss": float(model.loss(final, x, y)),
            "bit_accuracy": float(((out > 0.5) == (y > 0.5)).mean()),
        }

    tuned = Tuned("2", 28.0, relaxation=("F", "FCF"))
    return Problem("adder", model, x, y, w0, 0.025, 0.2, 1, "3", "zero", 400, metrics, tuned, REMARK)
