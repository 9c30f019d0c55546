"""A recurrence whose loss settles, and that loss."""

import numpy as np


class Approach:
    """Goes to a state that is not zero, with a little of the step's number in it."""

    def __call__(self, weights, index, level):
        length = 0.03 * 2**level
        target = 1 + 0.1 * np.sin(weights) + 0.01 * (index % 3)[:, None]
        return weights + length / (1 + length) * (target - weights)


class Loss:
    """The mean square of the weights; it remembers what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, final):
        self.given.append(final.copy())
        return float((final**2).mean())
