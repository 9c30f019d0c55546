"""MGRIT against the serial loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskmgrit as dm
from daskmgrit.models import MLP, AllExamples, CappedRate, ConstantRate, GradientDescent, Repeat, Serial
from tests.support.recurrences import Decay


@pytest.mark.parametrize("chunks", [1, 5])
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_serial_solution_has_residual_zero(decay, w0, chunks, cycle, relaxation):
    serial = dm.train_serially(decay, w0, 100)
    solver = dm.MGRIT(decay, 100, cycle=cycle, relaxation=relaxation)
    result = solver.solve(w0, initial_guess=serial, chunks=chunks)
    assert result.residuals == [0.0]
    assert (result.iterations, result.reason) == (0, "tol")
    assert np.array_equal(result.weights.compute(), serial)


@pytest.mark.parametrize(("steps", "m"), [(64, 2), (65, 2), (50, 4), (51, 4), (35, 3)])
def test_two_level_fcf_is_exact_after_half_the_intervals(w0, steps, m):
    # One FCF-cycle makes two more F-intervals exact.
    phi = Decay(m)
    cycles = math.ceil(steps / (2 * m))
    solver = dm.MGRIT(phi, steps, coarsening=m, max_levels=2)
    result = solver.solve(w0, tol=0, maxiter=cycles)
    serial = dm.train_serially(phi, w0, steps)
    assert result.iterations == cycles
    np.testing.assert_allclose(result.weights.compute(), serial, rtol=1e-14, atol=1e-14)
    assert result.residuals[-1] < 1e-14


def test_a_weighted_relaxation_leaves_what_is_exact(decay, w0):
    serial = dm.train_serially(decay, w0, 64)
    result = dm.MGRIT(decay, 64, weight=0.7).solve(w0, initial_guess="zero", tol=0, maxiter=30)
    assert np.array_equal(result.weights[0].compute(), w0)
    np.testing.assert_allclose(result.weights.compute(), serial, rtol=1e-13)


def test_two_level_fcf_is_not_exact_before(w0):
    # The bound above is sharp for a coarse phi that is far from the fine one.
    def poor(weights, index, level):
        return weights * 0.9 if level == 0 else weights * 0.1

    steps, m = 64, 2
    serial = dm.train_serially(poor, w0, steps)
    errors = []
    for cycles in (15, 16):
        result = dm.MGRIT(poor, steps, m, max_levels=2).solve(w0, tol=0, maxiter=cycles)
        errors.append(np.abs(result.weights.compute() - serial)[-2:].max())
    assert errors[1] < 1e-15 < 1e-8 < errors[0]


def _rule(draw, examples):
    kind = draw(st.sampled_from([AllExamples, Serial, Repeat]))
    if kind is AllExamples:
        return kind()
    return kind(examples, draw(st.integers(1, 2)), draw(st.integers(0, 1)))


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    loss = draw(st.sampled_from(["squared_error", "cross_entropy"]))
    hidden_layers = draw(st.lists(st.integers(1, 4), max_size=2))
    sizes = [draw(st.integers(1, 3)), *hidden_layers, draw(st.integers(2, 3))]
    model = MLP(
        sizes,
        hidden=draw(st.sampled_from(["sigmoid", "tanh"])),
        loss=loss,
        bias=draw(st.booleans()),
        reduction=draw(st.sampled_from(["sum", "mean"])),
    )
    x = rng.standard_normal((4, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], 4)]
    rate = draw(st.sampled_from([ConstantRate(0.05), CappedRate(0.05, 0.2)]))
    return GradientDescent(model, x, y, rate, _rule(draw, 4)), rng.standard_normal(model.size)


@st.composite
def options(draw):
    steps = draw(st.integers(8, 90))
    return {
        "steps": steps,
        "coarsening": draw(st.sampled_from([2, 3, 4, [2, 4], [5, 2]])),
        "max_levels": draw(st.sampled_from([None, 2, 3])),
        "min_coarse": draw(st.integers(1, 10)),
        "cycle": draw(st.sampled_from(["V", "F"])),
        "relaxation": draw(st.sampled_from(["F", "FCF", 2, ["FCF", "F"], ["F", "FCFCF"]])),
        "weight": draw(st.sampled_from([1.0, 0.9, [1.0, 1.1]])),
    }


@settings(max_examples=60)
@given(
    problem=problems(),
    options=options(),
    guess=st.sampled_from(["zero", "constant", "nested"]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_converged_weights_are_the_serial_ones(problem, options, guess, share):
    phi, w0 = problem
    solver = dm.MGRIT(phi, **options)
    chunks = 1 + int(share * (options["steps"] // solver.hierarchy[0].coarsening))
    result = solver.solve(w0, initial_guess=guess, tol=1e-10, maxiter=100, chunks=chunks)
    assert result.reason == "tol"
    serial = dm.train_serially(phi, w0, options["steps"])
    # An error grows along the steps by no more than the residual's sum times the recurrence's own growth,
    # which these rates keep near one.
    np.testing.assert_allclose(result.weights.compute(), serial, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(result.final, result.weights[-1].compute())


def test_float32(decay):
    w0 = np.linspace(1, 2, 5, dtype=np.float32)
    result = dm.MGRIT(decay_float32, 100).solve(w0, tol=1e-5)
    assert result.converged
    assert result.weights.dtype == result.final.dtype == np.float32
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(decay_float32, w0, 100), atol=1e-5)


def decay_float32(weights, index, level):
    return (weights * np.float32(0.97) ** (2**level)).astype(np.float32)
