"""Coarse levels with smaller states: half the heat equation's grid, half a network's width (paper, Remark 2)."""

import numpy as np

import daskmgrit as dm
from daskmgrit.models import AllExamples, CappedRate, GradientDescent, Narrowing
from daskmgrit.problems import GridTransfer, HeatEquation, digits


def compare(name, phi, w0, steps, transfer, guess="constant"):
    serial = dm.train_serially(phi, w0, steps)[-1]
    for what, each in (("all levels alike", None), ("coarser states", transfer)):
        result = dm.MGRIT(phi, steps, transfer=each).solve(w0, guess)
        print(f"{name}, {what}: {result.iterations} iterations, {'converged' if result.converged else result.reason}")
        print(f"  difference from serial training {np.abs(result.final - serial).max():.1e}")


def main():
    heat = HeatEquation(points=129, steps=64)
    compare("heat equation", heat, heat.w0, heat.steps, GridTransfer(), "zero")
    problem = digits(hidden=16)
    narrowing = Narrowing(problem.model)
    x, y = problem.x[:200], problem.y[:200]
    phi = GradientDescent(narrowing, x, y, CappedRate(0.05, 0.8), AllExamples())
    # On the coarsest of four levels: relaxation alone corrects what a narrower network cannot represent.
    compare("digits", phi, problem.w0, 64, [None, None, narrowing])


if __name__ == "__main__":
    main()
