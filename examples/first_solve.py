"""Train exclusive-or by MGRIT and compare with serial training (paper, section 3.4.1, Solver 1)."""

import numpy as np

import daskmgrit as dm
from daskmgrit.problems import xor


def main():
    problem = xor()
    phi = problem.propagator("1")
    solver = dm.MGRIT(phi, steps=400, cycle="F")
    print(solver)
    result = solver.solve(problem.w0, progress=True)
    print(result)
    serial = dm.train_serially(phi, problem.w0, 400)
    print(f"largest difference from serial training: {np.abs(result.weights.compute() - serial).max():.1e}")


if __name__ == "__main__":
    main()
