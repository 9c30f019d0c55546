import numpy as np
import pytest

from daskmgrit.newton.contraction import edge_of_stability
from daskmgrit.problems import digits


@pytest.mark.parametrize("rate", [0.1, 0.6, 0.9])
def test_linear_descent_has_its_largest_eigenvalue(rate):
    curvatures = np.array([0.01, 0.5, 2.0])

    def descend(weights, index, level):
        return weights - rate * curvatures * weights

    assert edge_of_stability(descend, np.ones(3), 20) == pytest.approx(2 * rate, rel=1e-3)


def test_curvature_that_grows_along_the_run_is_seen():
    def descend(weights, index, level):
        return weights - 0.1 * (1 + index[:, None]) * (weights - 1)

    assert edge_of_stability(descend, np.zeros(2), 11) == pytest.approx(1.1, rel=1e-3)


def test_a_network_is_some_way_from_the_edge():
    pytest.importorskip("sklearn")
    problem = digits()
    small, large = (edge_of_stability(problem.propagator("2", rate), problem.w0, 40) for rate in (0.01, 0.05))
    assert 0 < small < large < 2
