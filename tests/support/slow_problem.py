"""A problem whose solve can be interrupted: the xor problem, short and slow."""

import time

from daskmgrit import problems


class Slow:
    def __init__(self, phi):
        self.phi = phi

    def __call__(self, weights, index, level):
        time.sleep(0.01)
        return self.phi(weights, index, level)


class SlowProblem:
    steps = 100

    def __init__(self, problem):
        self.problem = problem

    def propagator(self):
        return Slow(self.problem.propagator())

    def __getattr__(self, name):
        return getattr(self.problem, name)


def xor():
    return SlowProblem(problems.xor())
