"""What a problem of the user's own says of itself, and what it refuses."""

import numpy as np
import pytest

from daskmgrit.errors import PropagatorError
from daskmgrit.problems import OwnProblem, xor


def phi(weights, index, level):
    return 0.5 * weights


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"phi": 3}, TypeError, "phi=3 is not callable"),
        ({"phi": lambda w: w}, PropagatorError, "from_function"),
        ({"w0": np.ones((2, 2))}, ValueError, r"w0 has shape \(2, 2\)"),
        ({"phi": xor().propagator()}, ValueError, "w0 has length 2, but states of GradientDescent have 16"),
        ({"steps": 0}, ValueError, "steps=0"),
        ({"name": None}, TypeError, "name=None"),
        ({"loss": 1.0}, TypeError, r"loss=1\.0 is not callable"),
        ({"loss": lambda w, x: 0.0}, TypeError, r"loss=<lambda> takes \(w, x\), not 1 argument: give a function of"),
        ({"metrics": {}}, TypeError, "metrics={} is not callable"),
        ({"method": "sgd"}, ValueError, "method='sgd'"),
    ],
)
def test_refusals(values, error, words):
    with pytest.raises(error, match=words):
        OwnProblem(**({"phi": phi, "w0": np.ones(2), "steps": 8} | values))


def test_hierarchy():
    problem = OwnProblem(phi, np.ones(2), 64, coarsening=4)
    assert problem.hierarchy() == {"coarsening": 4, "relaxation": "FCF", "min_coarse": 10}
    assert problem.hierarchy(coarsening=None, max_levels=2, min_coarse=3) == {
        "coarsening": 4,
        "relaxation": "FCF",
        "min_coarse": 3,
        "max_levels": 2,
    }


def test_what_is_told_of_the_final_weights():
    final = np.array([3.0, 4.0])
    problem = OwnProblem(phi, np.ones(2), 8, loss=lambda w: (w**2).sum(), metrics=lambda w: {"least": w.min()})
    assert problem.tell(final) == {"loss": 25.0, "least": 3.0}
    assert OwnProblem(phi, np.ones(2), 8).tell(final) == {}
    with pytest.raises(TypeError, match="metrics returned 5"):
        OwnProblem(phi, np.ones(2), 8, metrics=lambda w: 5).tell(final)
    with pytest.raises(TypeError, match="return floats"):
        OwnProblem(phi, np.ones(2), 8, loss=lambda w: w).tell(final)
