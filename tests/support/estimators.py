"""Estimators of scikit-learn, their data, and the loop that a user has."""

import numpy as np

from tests.support.optional import need

datasets, linear_model, neural_network = (
    need(f"sklearn.{name}", "digits") for name in ("datasets", "linear_model", "neural_network")
)

BATCH, STEPS = 32, 24
CANCER = datasets.load_breast_cancer(return_X_y=True)
CANCER = (CANCER[0] - CANCER[0].mean(0)) / CANCER[0].std(0), CANCER[1]
DIGITS = datasets.load_digits(return_X_y=True)
DIGITS = DIGITS[0] / 16, DIGITS[1]
DIABETES = datasets.load_diabetes(return_X_y=True)
DIABETES = DIABETES[0], DIABETES[1] / 100


def network(kind=neural_network.MLPClassifier, **options):
    return kind(
        **{"hidden_layer_sizes": (6,), "solver": "sgd", "learning_rate_init": 0.02, "batch_size": 32, "random_state": 1}
        | options
    )


CASES = {
    "constant": (lambda: linear_model.SGDClassifier(learning_rate="constant", eta0=1e-3, random_state=3), CANCER),
    "invscaling": (
        lambda: linear_model.SGDClassifier("log_loss", learning_rate="invscaling", eta0=0.01, random_state=3),
        CANCER,
    ),
    "optimal": (lambda: linear_model.SGDClassifier("log_loss", alpha=0.01, random_state=3), CANCER),
    "perceptron": (lambda: linear_model.Perceptron(eta0=1e-2, random_state=3), CANCER),
    "regressor": (lambda: linear_model.SGDRegressor(random_state=3, eta0=1e-3), DIABETES),
    "momentum": (lambda: network(nesterovs_momentum=False), DIGITS),
    "nesterov": (lambda: network(learning_rate="invscaling"), DIGITS),
    "adam": (lambda: network(solver="adam", learning_rate_init=1e-3), DIGITS),
    "network-regressor": (lambda: network(neural_network.MLPRegressor), DIABETES),
}


def serial(estimator, x, y, start, stop):
    """The loop that a user has."""
    labels = (
        {"classes": np.unique(y)} if hasattr(estimator, "classes_") or not hasattr(estimator, "loss_curve_") else {}
    )
    if isinstance(estimator, linear_model.SGDRegressor | neural_network.MLPRegressor):
        labels = {}
    for i in range(start, stop):
        rows = slice(i % (len(x) // BATCH) * BATCH, (i % (len(x) // BATCH) + 1) * BATCH)
        estimator.partial_fit(x[rows], y[rows], **labels)
    return estimator


def weights(estimator):
    if hasattr(estimator, "coefs_"):
        return np.concatenate([np.ravel(a) for a in (*estimator.coefs_, *estimator.intercepts_)])
    return np.concatenate((np.ravel(estimator.coef_), np.ravel(estimator.intercept_)))
