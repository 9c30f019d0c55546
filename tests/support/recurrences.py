"""Recurrences that cost nothing, or that take their time, or that count."""

import time

import numpy as np


class Decay:
    """A mildly nonlinear, step-dependent recurrence that costs nothing; larger steps on coarse levels."""

    def __init__(self, m=2):
        self.m = m

    def __call__(self, weights, index, level):
        length = self.m**level
        return weights / (1 + 0.05 * length) + 0.01 * length * np.sin(weights) * (index % 3)[:, None]


class Slow(Decay):
    """The same, taking its time, so that a fault comes during a solve."""

    def __init__(self, m=2, seconds=0.005):
        super().__init__(m)
        self.seconds = seconds

    def __call__(self, weights, index, level):
        time.sleep(self.seconds)
        return super().__call__(weights, index, level)


class Counting:
    """Counts the states that another phi is given, by level; those of a solve alone, because it is declared pure."""

    pure = True

    def __init__(self, phi):
        self.phi = phi
        self.states = {}

    def __call__(self, weights, index, level):
        self.states[level] = self.states.get(level, 0) + len(weights)
        return self.phi(weights, index, level)

    def counts(self, levels):
        return [self.states.get(level, 0) for level in range(levels)]
