"""The XOR problem in PyMGRIT, one step at a time as PyMGRIT requires. Runs in PyMGRIT's own environment.

Called as ``python pymgrit_xor.py N CYCLE``; prints one JSON object.
"""

import json
import logging
import sys
import time

import numpy as np
from pymgrit.core.application import Application
from pymgrit.core.mgrit import Mgrit
from pymgrit.core.vector import Vector

X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=float)
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
RATE, MAXIMUM, MIN_COARSE = 1.0, 8.0, 10


class Weights(Vector):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def __add__(self, other):
        return Weights(self.values + other.values)

    def __sub__(self, other):
        return Weights(self.values - other.values)

    def __mul__(self, factor):
        return Weights(self.values * factor)

    def norm(self):
        return np.linalg.norm(self.values)

    def clone(self):
        return Weights(self.values.copy())

    def clone_zero(self):
        return Weights(np.zeros_like(self.values))

    def clone_rand(self):
        return Weights(np.random.rand(self.values.size))

    def set_values(self, values):
        self.values = values

    def get_values(self):
        return self.values

    def pack(self):
        return self.values

    def unpack(self, values):
        self.values = values


def descend(w, rate):
    first, second = w[:12].reshape(3, 4), w[12:].reshape(4, 1)
    hidden = 1 / (1 + np.exp(-(X @ first)))
    out = 1 / (1 + np.exp(-(hidden @ second)))
    delta = (out - Y) * out * (1 - out)
    back = (delta @ second.T) * hidden * (1 - hidden)
    return w - rate * np.concatenate(((X.T @ back).ravel(), (hidden.T @ delta).ravel()))


class Xor(Application):
    def __init__(self, level, start, **times):
        super().__init__(**times)
        self.rate = min(2**level * RATE, MAXIMUM)
        self.vector_template, self.vector_t_start = Weights(np.zeros(16)), Weights(start)

    def step(self, u_start, t_start, t_stop):
        return Weights(descend(u_start.values, self.rate))


def main():
    steps, cycle = int(sys.argv[1]), sys.argv[2]
    start = 2 * np.random.RandomState(1).random_sample(16) - 1
    begin = time.process_time()
    state = start
    for _ in range(steps):
        state = descend(state, RATE)
    serial = time.process_time() - begin

    grids = [np.arange(steps + 1, dtype=float)]
    while len(grids) < 2 or len(grids[-1]) - 1 > MIN_COARSE:
        grids.append(grids[-1][::2])
    logging.disable(logging.CRITICAL)
    begin = time.process_time()
    levels = [Xor(level, start, t_interval=grid) for level, grid in enumerate(grids)]
    solver = Mgrit(levels, tol=1e-9 * np.sqrt(steps), cycle_type=cycle, nested_iteration=False, max_iter=50)
    history = solver.solve()["conv"]
    seconds = time.process_time() - begin
    final = solver.u[0][-1].values
    print(
        json.dumps(
            {"history": list(history), "seconds": seconds, "serial": serial, "error": float(abs(final - state).max())}
        )
    )


main()
