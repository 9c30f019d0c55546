"""Any phi with a rate, made stable on coarse levels; its stages in the counts."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import (
    METHODS,
    chebyshev_stages,
    chebyshev_step,
    find_curvatures,
    from_fine,
    stabilise,
)
from daskmgrit.problems import adder
from tests.support.chains import Chains
from tests.support.recurrences import Counting, Decay

# -- any phi that takes a rate -----------------------------------------------------------------------------------------


class Quadratic:
    """Descent on a quadratic with a slow drift; counts its calls."""

    def __init__(self, curvature=(0.02, 0.3, 1.0)):
        self.curvature, self.calls = np.array(curvature), 0

    def __call__(self, weights, index, level, rate):
        self.calls += 1
        return weights - rate * (self.curvature * weights + 0.01 * np.sin(weights) + 1e-3 * (index % 2)[:, None])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [2, 4, (2, 4)])
def test_stabilised_phi_converges_to_serial_training(method, m):
    descend = Quadratic()
    w0 = np.array([1.0, -2.0, 0.5])

    def gradient(weights):
        return weights - descend(weights, np.zeros(len(weights), int), 0, 1.0)

    found = find_curvatures(gradient, w0, 0.25 * 600, 1.9, rank=2) if method == "deflated" else None
    phi = stabilise(descend, 0.25, 1.9, m, method, curvatures=found)
    assert dm.check_propagator(phi, w0, levels=6).ok
    result = dm.MGRIT(phi, 600, coarsening=m if isinstance(m, int) else list(m)).solve(w0)
    assert result.converged
    serial = dm.train_serially(lambda w, i, level: descend(w, i, level, 0.25), w0, 600)
    np.testing.assert_allclose(result.weights.compute(), serial, atol=1e-7)


def test_stabilised_phi_is_the_chebyshev_step_of_its_gradient():
    descend = Quadratic()
    phi = stabilise(descend, 0.25, 1.9)
    w, index = np.array([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]]), np.array([4, 5])

    def gradient(states):
        return states - descend(states, index, 5, 1.0)

    stages = phi.stages(5)
    assert stages == chebyshev_stages(8.0, 1.9) == 3
    np.testing.assert_allclose(phi(w, index, 5), chebyshev_step(gradient, w, 8.0, stages), rtol=1e-12)
    assert np.array_equal(phi(w, index, 2), descend(w, index, 2, 1.0))
    assert [phi.shortfall(level) for level in (2, 8)] == [1, 1]
    capped = stabilise(descend, 0.25, 2.0, method="capped")
    assert [capped.shortfall(level) for level in (2, 3, 8)] == [1, 1, 32]


def test_stages_are_calls():
    for method in ("capped", "substeps", "chebyshev"):
        descend = Quadratic()
        phi = stabilise(descend, 0.25, 1.9, method=method)
        for level in range(8):
            descend.calls = 0
            phi(np.ones((2, 3)), np.arange(2), level)
            assert descend.calls == phi.stages(level)


def test_bad_stabilise():
    with pytest.raises(TypeError, match="phi_of_rate=1 is not callable"):
        stabilise(1, 0.1, 1.0)
    with pytest.raises(TypeError, match=r"takes \(weights, index, level\), not 4 arguments: give phi_of_rate\("):
        stabilise(lambda weights, index, level: weights, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"max_rate=0.1 is below rate=1.0"):
        stabilise(Quadratic(), 1.0, 0.1)
    with pytest.raises(ValueError, match="rate=0 is out of range"):
        stabilise(Quadratic(), 0, 0.1)


@pytest.mark.parametrize("window", [1, 8])
def test_a_loop_that_knows_no_levels(window):
    """Level 0 of the built-in descent, made into Solver 4 from outside."""
    problem = adder(examples=30)
    fine = problem.propagator("2")
    phi = stabilise(from_fine(fine, 2, window, period=30), 1.0, 4.0)
    inside = problem.propagator("2", max_learning_rate=0.1, coarse="chebyshev", data="window", window=window)
    states, index = np.stack([problem.w0, 0.9 * problem.w0]), np.array([1, 2])
    for level in range(6):
        np.testing.assert_allclose(phi(states, index, level), inside(states, index, level), rtol=1e-9, atol=1e-12)
        assert phi.stages(level) == inside.stages(level)
    assert np.array_equal(phi(states, index, 0), fine(states, index, 0))
    result = dm.MGRIT(phi, 60).solve(problem.w0, "constant")
    np.testing.assert_allclose(result.final, dm.train_serially(fine, problem.w0, 60)[-1], atol=1e-7)
    with pytest.raises(TypeError, match="phi=2 is not callable"):
        from_fine(2)


# -- counting ----------------------------------------------------------------------------------------------------------


class Staged:
    """A phi whose calls on coarse levels count several, with the states that it was given weighted so."""

    pure = True

    def __init__(self, m):
        self.phi, self.calls, self.states = Decay(m), 0, {}

    def stages(self, level):
        return 1 + 2 * level

    def __call__(self, weights, index, level):
        self.calls += self.stages(level)
        self.states[level] = self.states.get(level, 0) + len(weights) * self.stages(level)
        return self.phi(weights, index, level)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize(("m", "relaxation"), [(2, "FCF"), (2, ["FCF", "F"]), (4, "FCF"), (3, 2)])
def test_stages_count_in_evaluations_and_in_the_critical_path(cycle, m, relaxation):
    phi, steps = Staged(m), 96
    solver = dm.MGRIT(phi, steps, coarsening=m, cycle=cycle, relaxation=relaxation)
    chains = Chains(phi)
    with chains, dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": True}):
        result = solver.solve(np.ones(2), tol=0, maxiter=2, chunks=steps // m + 1)
    longest = max(depth for key, depth in chains.depth.items() if str(key).startswith("residual"))
    assert result.critical_path == longest
    assert result.phi_evaluations == [phi.states[level] for level in range(len(result.levels))]
    assert solver.stages == [1 + 2 * level for level in range(len(result.levels))]
    assert "stages" in str(solver)


@pytest.mark.usefixtures("synchronous")
def test_each_level_costs_its_stages_in_a_row():
    def path(cycles, stages):
        return dm.tune.critical_path(128, stages, cycles)

    one = path(3, [1] * 5) - path(2, [1] * 5)
    assert one == 4 * 4 + 7
    # Levels 128, 64, 32, 16 are relaxed with four Phi in a row each, the eight steps of the coarsest take seven. Where
    # the coarse step parallel to the residual takes more stages than that, it is what lies on the path.
    staged = path(3, [1, 1, 1, 2, 3]) - path(2, [1, 1, 1, 2, 3])
    assert staged == 3 * 4 + 1 + 4 * 2 + 1 + 7 * 3


def test_stages_on_level_0_count_in_the_initial_guess():
    class Twice(Counting):
        def stages(self, level):
            return 2

    once = dm.MGRIT(Decay(), 32).solve(np.ones(2), maxiter=0)
    twice = dm.MGRIT(Twice(Decay()), 32).solve(np.ones(2), maxiter=0)
    assert twice.critical_path == 2 * once.critical_path
    assert sum(twice.phi_evaluations) == 2 * sum(once.phi_evaluations)


@pytest.mark.parametrize("count", [0, 1.5, "two", None])
def test_bad_stages_are_named(count):
    class Wrong(Decay):
        def stages(self, level):
            return count

    with pytest.raises(dm.PropagatorError, match=r"phi.stages\(0\) is .* an integer of at least 1"):
        dm.MGRIT(Wrong(), 32).solve(np.ones(2))
    assert "phi.stages" in str(dm.check_propagator(Wrong(), np.ones(2), raises=False))
