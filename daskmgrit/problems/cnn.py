"""A convolutional network for handwritten digits, trained by AdamW along half a cosine in PyTorch."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.problems.own import OwnProblem
from daskmgrit.problems.schedule import half_cosine
from daskmgrit.utils.install_hint import install_hint
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["cnn"]


def cnn(
    seed: int = 1,
    steps: int = 840,
    batch: int = 64,
    channels: int = 16,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.05,
) -> OwnProblem:
    """Return the training of a convolutional network on scikit-learn's digits, 1,797 images of 8x8 pixels.

    The first half of the images, 898, is for training and the second, 899, for the test, without shuffling, as in
    scikit-learn's own example [1]_. Each training image occurs five times: unchanged, and shifted by a pixel up, down,
    left and right.

    Parameters
    ----------
    seed : int, default 1
        Seed of the initial weights and the order of the training images.
    steps : int, default 840
        N; the learning rate falls to zero over them, along half a cosine. 71 steps see all images.
    batch : int, default 64
        Images per step, taken in turn.
    channels : int, default 16
        Channels of the first layer; the second has twice as many.
    learning_rate, weight_decay : float, default 3e-3 and 0.05
        Options of AdamW.

    Returns
    -------
    OwnProblem
        Its metrics are the shares of training and test images that are recognised.

    Raises
    ------
    ImportError
        If PyTorch or scikit-learn, which brings the images, is not installed.

    References
    ----------
    .. [1] scikit-learn, "Recognizing hand-written digits": a support vector machine recognises 0.97 of the second half.
    .. [2] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    integer_option("steps", steps, 1, "it is the number of training steps")
    integer_option("channels", channels, 1, "it is the number of channels of the first layer")
    number_option("learning_rate", learning_rate, "a learning rate is a positive number", above=0)
    number_option("weight_decay", weight_decay, "it is at least 0", least=0)
    try:
        import torch
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            f"the cnn problem needs PyTorch and scikit-learn, of which {error.name} is not installed: "
            + install_hint("torch" if error.name == "torch" else "digits")
        ) from None
    from daskmgrit.torch import propagator

    digits, random = load_digits(), np.random.default_rng(seed)
    images, targets = digits.images / 16, torch.from_numpy(digits.target.astype(np.int64))
    half = len(targets) // 2
    shifted, order = _shifted(images[:half]), random.permutation(5 * half)
    inputs = torch.from_numpy(images[:, None])
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * channels, 10),
    ).double()  # fmt: skip
    _draw(module, random)
    phi = propagator(
        module,
        nn.functional.cross_entropy,
        partial(torch.optim.AdamW, lr=learning_rate, weight_decay=weight_decay),
        (torch.from_numpy(shifted[order, None]), targets[:half].repeat(5)[order]),
        batch=batch,
        schedule=partial(half_cosine, steps=steps),
    )

    def metrics(final: NDArray) -> dict[str, float]:
        with torch.no_grad():
            right = (phi.module(final)(inputs).argmax(dim=1) == targets).double()
        return {"train_accuracy": float(right[:half].mean()), "test_accuracy": float(right[half:].mean())}

    return OwnProblem(phi, phi.w0, steps, "cnn", loss=phi.loss, metrics=metrics, method="newton", remark=REMARK)


REMARK = (
    "trained on the first half of scikit-learn's digits; on the second half its example's support vector machine "
    "has a test accuracy of 0.97"
)


def _shifted(images: NDArray) -> NDArray:
    """Return images (k, 8, 8) and those that are shifted by a pixel up, down, right and left, shape (5k, 8, 8)."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = ((1, 1), (2, 1), (0, 1), (1, 0), (1, 2))
    return np.concatenate([wide[:, row : row + 8, column : column + 8] for row, column in corners])


def _draw(module: Any, random: np.random.Generator) -> None:
    """Give each layer uniform weights as PyTorch does, drawn by NumPy, so that PyTorch's generator is unchanged."""
    import torch

    drawn = {}
    for name, weights in module.state_dict().items():
        if name.endswith("weight"):
            bound = 1 / math.sqrt(weights[0].numel())
        drawn[name] = torch.from_numpy(random.uniform(-bound, bound, tuple(weights.shape)))
    module.load_state_dict(drawn)
