"""What a solve of each problem costs, in counts that are not to grow: cycles, Phi, critical path."""

import pytest

import daskmgrit as dm
from daskmgrit.problems import adder, digits, xor
from tests.support.recurrences import Counting

# Cycles to the default tolerance; Phi by level and critical path of that number of cycles.
PHI = {
    ("xor", "1", 400, "V"): (11, [9400, 6600, 3300, 1650, 825, 396, 121], 322),
    ("xor", "1", 400, "F"): (8, [7000, 8000, 6400, 4400, 2800, 1632, 528], 915),
    ("digits", "2", 200, "V"): (10, [4300, 3000, 1500, 750, 360, 110], 253),
    ("adder", "4", 256, "V"): (3, [1152, 1152, 576, 288, 144, 45], 78),
}
PROBLEMS = {"xor": xor, "digits": digits, "adder": adder}


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(("name", "solver", "steps", "cycle"), PHI)
def test_phi(name, solver, steps, cycle):
    problem = PROBLEMS[name]()
    options = problem.hierarchy(solver)
    phi = Counting(problem.propagator(solver, coarsening=options.get("coarsening", 2)))
    cycles, counts, path = PHI[name, solver, steps, cycle]
    mgrit = dm.MGRIT(phi, steps, cycle=cycle, **options)
    result = mgrit.solve(problem.w0, problem.guess(solver), tol=0, maxiter=cycles)
    assert (phi.counts(len(result.levels)), result.critical_path) == (counts, path)
    # Which cycle is the last is up to the residuals, and where rounding decides, to the processor.
    tol = 1e-9 * steps**0.5
    assert result.residuals[-1] <= 2 * tol
    assert result.residuals[-2] > tol / 2
