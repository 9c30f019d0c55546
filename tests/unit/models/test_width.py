"""A network's width as a transfer."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import MLP, AllExamples, CappedRate, GradientDescent, Narrowing


def network(bias, hidden=(8, 4)):
    random = np.random.default_rng(0)
    model = MLP([3, *hidden, 2], hidden="tanh", bias=bias)
    return model, random.standard_normal((6, 3)), random.random((6, 2)), random.standard_normal((2, model.size))


@pytest.mark.parametrize("bias", [False, True])
def test_narrowing_keeps_a_paired_networks_outputs_and_its_steps(bias):
    model, x, y, _ = network(bias)
    narrowing = Narrowing(model)
    assert [each.sizes[1:-1] for each in narrowing.models] == [(8, 4), (4, 2), (2, 1)]
    for level, narrow in enumerate(narrowing.models[1:]):
        weights = np.random.default_rng(level).standard_normal((3, narrow.size))
        wide = narrowing.interpolate(weights, level)
        wider = narrowing.models[level]
        np.testing.assert_allclose(narrowing.restrict(wide, level), weights, rtol=1e-14)
        np.testing.assert_allclose(wider.predict(wide, x), narrow.predict(weights, x), rtol=1e-13)
        step = narrowing.restrict(narrowing.gradient(wide, x, y), level)
        np.testing.assert_allclose(narrowing.gradient(weights, x, y), step, rtol=1e-10, atol=1e-14)


def test_a_networks_width_on_the_coarsest_level():
    model, x, y, (w0, _) = network(True, hidden=(8,))
    narrowing = Narrowing(model)
    rule = CappedRate(0.05, 0.4), AllExamples()
    wide, narrow = GradientDescent(model, x, y, *rule), GradientDescent(narrowing, x, y, *rule)
    assert dm.check_propagator(narrow, narrowing.restrict(w0[None], 0)[0]).ok
    solver = dm.MGRIT(narrow, 64, transfer=[None, None, narrowing])
    result = solver.solve(w0, "constant")
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(wide, w0, 64), atol=1e-7)
    # A paired network loses nothing by being narrowed, on any level.
    paired = narrowing.interpolate(narrowing.restrict(w0[None], 0), 0)[0]
    plain = dm.MGRIT(wide, 64).solve(paired, "constant")
    same = dm.MGRIT(narrow, 64, transfer=[narrowing, None]).solve(paired, "constant")
    np.testing.assert_allclose(same.residuals, plain.residuals, rtol=1e-3, atol=1e-10)


def test_what_cannot_be_narrowed():
    with pytest.raises(ValueError, match="cannot be narrowed"):
        Narrowing(MLP([3, 5, 1]))
    narrowing = Narrowing(MLP([3, 2, 1]))
    with pytest.raises(ValueError, match=r"transfer=\[narrowing, None\]"):
        narrowing.restrict(np.zeros((1, 4)), 1)
    with pytest.raises(ValueError, match="states have 5 weights, but the networks have 8, 4"):
        narrowing.gradient(np.zeros((1, 5)), np.zeros((1, 3)), np.zeros((1, 1)))
