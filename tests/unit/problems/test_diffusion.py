"""Evolution problems: against another implementation's residuals, and against the differential equation."""

import pickle

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import Brusselator, HeatEquation

# Printed by PyMGRIT's example of the heat equation: 65 points in time, 1001 in space, 5 levels, m = 2, F-cycle, FCF,
# zero guess.
PUBLISHED = [
    1.6743745803519487,
    0.08233110058226714,
    0.004141227358231137,
    0.00020796732945572877,
    1.0239713477386588e-05,
    4.841251066261163e-07,
    2.1337164720045163e-08,
]


@pytest.mark.usefixtures("synchronous")
def test_heat_equation_has_the_published_residuals():
    heat = HeatEquation()
    solver = dm.MGRIT(heat, heat.steps, max_levels=5, min_coarse=1, cycle="F")
    assert solver.hierarchy.steps == [64, 32, 16, 8, 4]
    result = solver.solve(heat.w0, tol=1e-7, chunks=4)
    np.testing.assert_allclose(result.residuals[1:], PUBLISHED, rtol=1e-6)
    np.testing.assert_allclose(result.final, dm.train_serially(heat, heat.w0, heat.steps)[-1], atol=1e-8)


def test_heat_equation_converges_to_its_solution():
    # Backward Euler is of order one in time; in space the grid is fine enough.
    errors = []
    for steps in (32, 64):
        heat = HeatEquation(points=201, steps=steps)
        errors.append(np.abs(dm.train_serially(heat, heat.w0, steps)[-1] - heat.exact(2.0)).max())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_a_coarse_step_is_as_long_as_the_fine_ones():
    heat, fine = HeatEquation(17, 16, coarsening=4), HeatEquation(17, 4)
    state = heat.w0[None]
    np.testing.assert_allclose(heat(state, np.array([2]), 1), fine(state, np.array([2]), 0), rtol=1e-14)
    assert heat.dt(2) == 16 * heat.dt()


@pytest.mark.parametrize("cycle", ["V", "F"])
def test_brusselator(cycle):
    problem = Brusselator(points=17, steps=256)
    assert dm.check_propagator(problem, problem.w0, levels=4).remarks == []
    result = dm.MGRIT(problem, 256, cycle=cycle, max_levels=4).solve(problem.w0, "constant")
    assert result.converged
    serial = dm.train_serially(problem, problem.w0, 256)
    np.testing.assert_allclose(result.weights.compute(), serial, atol=1e-7)


def test_brusselator_is_of_order_one_and_keeps_its_steady_state():
    ends = []
    for steps in (100, 200, 400):
        problem = Brusselator(points=17, steps=steps)
        ends.append(dm.train_serially(problem, problem.w0, steps)[-1])
    ratio = np.abs(ends[0] - ends[1]).max() / np.abs(ends[1] - ends[2]).max()
    assert ratio == pytest.approx(2, rel=0.1)
    steady = np.repeat([1.0, 3.0], 15)[None]
    np.testing.assert_allclose(problem(steady, np.array([0]), 3), steady, rtol=1e-14)


def test_problems_travel():
    heat = HeatEquation(points=9, steps=8)
    state = heat(heat.w0[None], np.array([0]), 0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(heat))(heat.w0[None], np.array([0]), 0), state)


@pytest.mark.parametrize("option", [{"points": 2}, {"steps": 0}, {"length": 0.5}, {"duration": 0}, {"coarsening": 1}])
def test_bad_options(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        HeatEquation(**option)
