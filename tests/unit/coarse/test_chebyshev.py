"""Chebyshev steps and the coarse rule, against closed forms."""

import math

import numpy as np
import pytest
from numpy.polynomial.chebyshev import Chebyshev

from daskmgrit.coarse import (
    CoarseRule,
    chebyshev_stages,
    chebyshev_step,
    published_bound,
    stability_bound,
    substep_count,
)
from daskmgrit.models import CappedRate, ConstantRate, GradientDescent, Serial
from daskmgrit.problems import adder

# -- the Chebyshev step on the linear test equation w' = -z w, a step of length one ------------------------------------


def growth(z, stages, damping):
    """Factor by which the step multiplies each of the modes z."""
    return chebyshev_step(lambda w: z * w, np.ones((1, len(z))), 1.0, stages, damping)[0]


def closed_form(z, stages, damping):
    polynomial, w0 = Chebyshev.basis(stages), 1 + damping / stages**2
    w1 = polynomial(w0) / polynomial.deriv()(w0)
    return polynomial(w0 - w1 * z) / polynomial(w0), (w0 + 1) / w1, 1 / polynomial(w0), 2 * w0 / w1


@pytest.mark.parametrize("damping", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("stages", [1, 2, 3, 5, 8, 20, 60])
def test_stability_over_the_whole_interval(stages, damping):
    bound = stability_bound(stages, damping)
    z = np.linspace(0, bound, 4001)
    wanted, exact, most, last = closed_form(z, stages, damping)
    assert bound == pytest.approx(exact, rel=1e-9)
    factors = growth(z, stages, damping)
    np.testing.assert_allclose(factors, wanted, atol=1e-9)
    assert np.abs(factors).max() <= 1
    # Past the first few modes it is damped, as far as the interval goes; not much beyond it grows.
    w1 = 2 * (1 + damping / stages**2) / last
    damped = z >= damping / stages**2 / w1
    assert np.abs(factors[damped]).max() <= most * (1 + 1e-9) < 1
    assert abs(growth(np.array([1.01 * last]), stages, damping)[0]) > 1


def test_published_bound():
    for damping in (0.01, 0.05, 0.1):
        for stages in range(1, 200):
            published, exact = published_bound(stages, damping), stability_bound(stages, damping)
            # The published one is the first two terms in the damping: never more than what holds, and close to it.
            assert published <= exact
            assert exact / published < 1 + damping / stages**2 + damping**2
    assert published_bound(10, 0.0) == 200
    assert stability_bound(10, 1e-9) == pytest.approx(200, rel=1e-6)


@pytest.mark.parametrize("ratio", [1.001, 1.5, 2, 7, 64, 1000])
def test_stages_are_the_fewest_that_are_stable(ratio):
    stages = chebyshev_stages(ratio * 0.3, 0.3)
    assert published_bound(stages) >= 2 * ratio
    assert stages == 2 or published_bound(stages - 1) < 2 * ratio
    assert stability_bound(stages) >= 2 * ratio


@pytest.mark.parametrize("stages", [1, 2, 3, 6, 15])
def test_order_one(stages):
    errors = []
    for length in (1e-2, 5e-3, 2.5e-3):
        steps = round(1 / length)
        w = np.array([[1.0, -0.5]])
        for _ in range(steps):
            # dw/dt = -w**2 (1 + w): not linear.
            w = chebyshev_step(lambda v: v**2 * (1 + v), w, length, stages)
        errors.append(w)
    ratio = np.abs(errors[0] - errors[1]) / np.abs(errors[1] - errors[2])
    np.testing.assert_allclose(ratio, 2, rtol=0.05)


@pytest.mark.parametrize("max_stages", [None, 1, 3])
@pytest.mark.parametrize("method", ["capped", "substeps", "chebyshev"])
def test_every_level_is_stable_where_alpha_max_is(method, max_stages):
    top, rule = 0.3, CoarseRule(method, 0.3, max_stages=max_stages)
    curvature = np.linspace(0, 2 / top, 1001)
    for level in range(21):
        length = 0.02 * 2**level
        stages = rule.stages(length, level)
        if max_stages is None and stages > 3000:
            continue
        w = rule.step(lambda v: curvature * v, np.ones((1, 1001)), length, level)
        assert np.abs(w).max() <= 1 + 1e-9
        # It covers the length that it says, to first order.
        slope = 1e6 * length * (1 - rule.step(lambda v, z=1e-6 / length: z * v, np.ones((1, 1)), length, level)[0, 0])
        assert slope == pytest.approx(rule.covered(length, level), rel=1e-4)
        if max_stages is None and method != "capped":
            assert rule.covered(length, level) == length
    assert CoarseRule("chebyshev", 0.3).stages(0.02 * 2**20, 20) == math.ceil(
        math.sqrt(2 * 0.02 * 2**20 / 0.3 / (2 - 4 / 3 * 0.05))
    )


def test_one_stage_is_the_plain_step_and_a_fixed_point_stays():
    w = np.random.default_rng(0).standard_normal((3, 4))
    assert np.array_equal(chebyshev_step(np.sin, w, 0.3, 1), w - 0.3 * np.sin(w))
    assert np.array_equal(chebyshev_step(np.zeros_like, w, 50.0, 9), w)
    single = w.astype(np.float32)
    assert chebyshev_step(lambda v: 0.1 * v, single, 50.0, 9).dtype == np.float32
    held = w.copy()
    held.flags.writeable = False
    chebyshev_step(lambda v: 0.1 * v, held, 50.0, 9)
    assert np.array_equal(held, w)


# -- the choice per level ----------------------------------------------------------------------------------------------


def test_method_per_level():
    rule = CoarseRule(["capped", "substeps", "chebyshev"], 1.0)
    assert [rule.stages(8.0, level) for level in range(4)] == [1, 8, 3, 3]
    assert [rule.covered(8.0, level) for level in range(4)] == [1, 8, 8, 8]
    assert substep_count(0.3, 0.1) == 3
    assert substep_count(0.31, 0.1) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "rk4"}, "coarse='rk4' is not known: give one of capped"),
        ({"method": []}, r"coarse=\[\] is empty"),
        ({"max_rate": -1.0}, "max_rate=-1.0 is out of range"),
        ({"damping": 0.0}, "damping=0.0 is out of range"),
        ({"damping": 2.0}, "damping=2.0 is out of range"),
        ({"max_stages": 0}, "max_stages=0 is not an integer of at least 1"),
    ],
)
def test_bad_rule(arguments, words):
    with pytest.raises(ValueError, match=words):
        CoarseRule(**arguments)


def test_descent_by_stages_is_a_loop_over_plain_steps():
    """Substeps of the built-in descent against the plain descent, and Chebyshev against the model's gradient."""
    problem = adder(examples=6)
    states = np.stack([problem.w0, 0.9 * problem.w0, 1.1 * problem.w0])
    index, rule = np.arange(3), Serial(6)
    plain = GradientDescent(problem.model, problem.x, problem.y, ConstantRate(0.05), rule)
    phi = GradientDescent(problem.model, problem.x, problem.y, CappedRate(0.025, 0.05), rule, coarse="substeps")
    wanted = states
    for _ in range(4):
        wanted = plain(wanted, index, 3)
    np.testing.assert_allclose(phi(states, index, 3), wanted, rtol=1e-13)
    phi = GradientDescent(problem.model, problem.x, problem.y, CappedRate(0.025, 0.05), rule, coarse="chebyshev")

    def gradient(w):
        return problem.model.gradient(w, problem.x[index][:, None], problem.y[index][:, None])

    assert phi.stages(3) == 3
    assert np.array_equal(phi(states, index, 3), chebyshev_step(gradient, states, 0.2, 3))
