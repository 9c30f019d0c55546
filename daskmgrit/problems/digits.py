"""Handwritten digits: real data, minibatch gradient descent, softmax cross-entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.mlp import MLP
from daskmgrit.problems.problem import Problem, Tuned
from daskmgrit.utils.install_hint import install_hint

__all__ = ["digits"]


def digits(seed: int = 1, hidden: int = 32, test_share: float = 0.2) -> Problem:
    """Return the digits problem: 64-32-10 nodes with biases, 1,438 training and 359 test images of 8x8 pixels.

    Parameters
    ----------
    seed : int, default 1
        Seed of the order of the images, the split, and the initial weights.
    hidden : int, default 32
        Number of hidden nodes.
    test_share : float, default 0.2
        Share of the images that is kept for the test.

    Raises
    ------
    ImportError
        If scikit-learn, which brings the images, is not installed.

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            f"the digits problem needs scikit-learn, which brings the images: {install_hint('digits')}"
        ) from None
    images = load_digits()
    random = np.random.default_rng(seed)
    order = random.permutation(len(images.target))
    x, labels = images.data[order] / 16.0, images.target[order]
    tests = int(len(x) * test_share)
    x_test, labels_test, x, labels = x[:tests], labels[:tests], x[tests:], labels[tests:]
    y = np.eye(10)[labels]
    model = MLP([64, hidden, 10], hidden="tanh", loss="cross_entropy", bias=True, reduction="mean")
    w0 = np.zeros((1, model.size))
    for matrix, _ in model.layers(w0):
        fan_in = matrix.shape[1]
        matrix[...] = random.standard_normal(matrix.shape) / np.sqrt(fan_in)

    def metrics(final: NDArray) -> dict[str, float]:
        def accuracy(inputs: NDArray, wanted: NDArray) -> float:
            return float((model.predict(final, inputs).argmax(axis=1) == wanted).mean())

        return {
            "loss": float(model.loss(final, x, y)),
            "train_accuracy": accuracy(x, labels),
            "test_accuracy": accuracy(x_test, labels_test),
        }

    return Problem(
        "digits", model, x, y, w0[0], 0.05, 0.8, 32, "2", "constant", 1600, metrics, Tuned("2", 0.8, max_stages=4)
    )
