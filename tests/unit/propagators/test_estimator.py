"""Estimators of scikit-learn as propagators, against their own serial loop."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Repeat
from tests.support.estimators import BATCH, CANCER, CASES, STEPS, linear_model, neural_network, serial, weights


@pytest.mark.parametrize("case", CASES)
def test_the_estimators_own_loop(case):
    make, (x, y) = CASES[case]
    phi = dm.from_estimator(make(), x, y, BATCH, cap=4)
    assert dm.check_propagator(phi, phi.w0, steps=3).ok
    result = dm.MGRIT(phi, STEPS, max_levels=3).solve(phi.w0, "constant")
    assert result.converged
    mine, loop = phi.estimator(result.final, STEPS), serial(make(), x, y, 0, STEPS)
    np.testing.assert_allclose(weights(mine), weights(loop), rtol=1e-6, atol=1e-6)
    assert mine.score(x, y) == pytest.approx(loop.score(x, y), abs=1e-6)
    # Clocks and momenta are there too: both continue alike.
    np.testing.assert_allclose(
        weights(serial(mine, x, y, STEPS, STEPS + 3)),
        weights(serial(loop, x, y, STEPS, STEPS + 3)),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("case", ["optimal", "adam"])
def test_training_goes_on_from_a_fitted_estimator(case):
    make, (x, y) = CASES[case]
    fitted = serial(make(), x, y, 0, 5)
    before = weights(fitted).copy()
    phi = dm.from_estimator(fitted, x, y, Repeat(len(x), BATCH))
    states = dm.train_serially(phi, phi.w0, 4)
    np.testing.assert_array_equal(weights(fitted), before)
    for i in (0, 0, 1, 1):
        fitted.partial_fit(x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH])
    np.testing.assert_allclose(weights(phi.estimator(states[-1])), weights(fitted), rtol=1e-12, atol=1e-15)


def test_no_seed_means_the_number_of_the_step():
    x, y = CANCER
    phi = dm.from_estimator(linear_model.SGDClassifier(eta0=0.01, learning_rate="constant"), x, y, BATCH)
    assert dm.check_propagator(phi, phi.w0).ok


@pytest.mark.parametrize(
    ("estimator", "error", "words"),
    [
        (linear_model.LogisticRegression(), TypeError, ["LogisticRegression", "from_function"]),
        (linear_model.SGDClassifier, TypeError, ["estimator=SGDClassifier is a class", "SGDClassifier(…)"]),
        (linear_model.SGDClassifier(average=True), ValueError, ["average=True", "result.weights"]),
        (linear_model.SGDClassifier(early_stopping=True), ValueError, ["early_stopping=True"]),
        (linear_model.SGDClassifier(learning_rate="adaptive", eta0=1), ValueError, ["learning_rate='adaptive'"]),
        (neural_network.MLPClassifier(solver="lbfgs"), ValueError, ["solver='lbfgs'", "adam"]),
        (linear_model.SGDClassifier(random_state=np.random.RandomState(0)), ValueError, ["random_state=", "integer"]),
    ],
)
def test_what_is_refused(estimator, error, words):
    with pytest.raises(error) as caught:
        dm.from_estimator(estimator, *CANCER)
    assert all(word in str(caught.value) for word in words)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"x has shape \(569,\)"):
        dm.from_estimator(linear_model.SGDClassifier(), CANCER[1], CANCER[1])
    phi = dm.from_estimator(linear_model.SGDClassifier(), *CANCER, BATCH)
    with pytest.raises(dm.PropagatorError, match=r"start from phi\.w0"):
        phi(np.zeros((1, 3)), np.array([0]), 0)


@pytest.mark.parametrize("case", ["invscaling", "adam"])
def test_training_continues_from_a_later_step(case):
    """The estimator's clock, its batches and its momenta: a solve from step 9 on ends where one run does."""
    make, (x, y) = CASES[case]
    phi = dm.from_estimator(make(), x, y, BATCH, cap=4)
    half = dm.ParallelNewton(phi, 9, window=2).solve(phi.w0, tol=0)
    made = dm.start_at(phi, 9)
    found = dm.ParallelNewton(made, STEPS - 9, window=2).solve(half.final, tol=0)
    assert np.array_equal(found.final, dm.train_serially(phi, phi.w0, STEPS)[-1])
    loop = serial(make(), x, y, 0, STEPS)
    np.testing.assert_allclose(weights(made.estimator(found.final, STEPS)), weights(loop), rtol=1e-9, atol=1e-12)
