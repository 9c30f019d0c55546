"""Estimators of scikit-learn as propagators, against their own serial loop."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

import daskmgrit as dm
from daskmgrit.models import Repeat

BATCH, STEPS = 32, 24
CANCER = load_breast_cancer(return_X_y=True)
CANCER = (CANCER[0] - CANCER[0].mean(0)) / CANCER[0].std(0), CANCER[1]
DIGITS = load_digits(return_X_y=True)
DIGITS = DIGITS[0] / 16, DIGITS[1]
DIABETES = load_diabetes(return_X_y=True)
DIABETES = DIABETES[0], DIABETES[1] / 100


def network(kind=MLPClassifier, **options):
    return kind(
        **{"hidden_layer_sizes": (6,), "solver": "sgd", "learning_rate_init": 0.02, "batch_size": 32, "random_state": 1}
        | options
    )


CASES = {
    "constant": (lambda: SGDClassifier(learning_rate="constant", eta0=1e-3, random_state=3), CANCER),
    "invscaling": (lambda: SGDClassifier("log_loss", learning_rate="invscaling", eta0=0.01, random_state=3), CANCER),
    "optimal": (lambda: SGDClassifier("log_loss", alpha=0.01, random_state=3), CANCER),
    "perceptron": (lambda: Perceptron(eta0=1e-2, random_state=3), CANCER),
    "regressor": (lambda: SGDRegressor(random_state=3, eta0=1e-3), DIABETES),
    "momentum": (lambda: network(nesterovs_momentum=False), DIGITS),
    "nesterov": (lambda: network(learning_rate="invscaling"), DIGITS),
    "adam": (lambda: network(solver="adam", learning_rate_init=1e-3), DIGITS),
    "network-regressor": (lambda: network(MLPRegressor), DIABETES),
}


def serial(estimator, x, y, start, stop):
    """The loop that a user has."""
    labels = (
        {"classes": np.unique(y)} if hasattr(estimator, "classes_") or not hasattr(estimator, "loss_curve_") else {}
    )
    if isinstance(estimator, SGDRegressor | MLPRegressor):
        labels = {}
    for i in range(start, stop):
        rows = slice(i % (len(x) // BATCH) * BATCH, (i % (len(x) // BATCH) + 1) * BATCH)
        estimator.partial_fit(x[rows], y[rows], **labels)
    return estimator


def weights(estimator):
    if hasattr(estimator, "coefs_"):
        return np.concatenate([np.ravel(a) for a in (*estimator.coefs_, *estimator.intercepts_)])
    return np.concatenate((np.ravel(estimator.coef_), np.ravel(estimator.intercept_)))


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
    # Clocks and momenta are there too: both go on alike.
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
    phi = dm.from_estimator(SGDClassifier(eta0=0.01, learning_rate="constant"), x, y, BATCH)
    assert dm.check_propagator(phi, phi.w0).ok


@pytest.mark.parametrize(
    ("estimator", "error", "words"),
    [
        (LogisticRegression(), TypeError, ["LogisticRegression", "from_function"]),
        (SGDClassifier(average=True), ValueError, ["average=True", "result.weights"]),
        (SGDClassifier(early_stopping=True), ValueError, ["early_stopping=True"]),
        (SGDClassifier(learning_rate="adaptive", eta0=1), ValueError, ["learning_rate='adaptive'"]),
        (MLPClassifier(solver="lbfgs"), ValueError, ["solver='lbfgs'", "adam"]),
        (SGDClassifier(random_state=np.random.RandomState(0)), ValueError, ["random_state=", "integer"]),
    ],
)
def test_what_is_refused(estimator, error, words):
    with pytest.raises(error) as caught:
        dm.from_estimator(estimator, *CANCER)
    assert all(word in str(caught.value) for word in words)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"x has shape \(569,\)"):
        dm.from_estimator(SGDClassifier(), CANCER[1], CANCER[1])
    phi = dm.from_estimator(SGDClassifier(), *CANCER, BATCH)
    with pytest.raises(dm.PropagatorError, match=r"start from phi\.w0"):
        phi(np.zeros((1, 3)), np.array([0]), 0)
