"""A multilayer perceptron on a block of weight vectors (paper, section 2.1 and appendix A)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.lanes import Lanes, numbers
from daskmgrit.models.workspace import kept, scratch
from daskmgrit.utils.private_api import sum_of_products

__all__ = ["MLP"]

Array = NDArray

# Products in one layer after another, for all examples of a state, up to which lanes were faster than BLAS: 2 times for
# 64, 1.5 (one state) to 1 (400 states) for 200.
LANES = 200

# Size in bytes from which weights may not be in the cache when a gradient begins.
READ_FIRST = 1 << 18


def _activate(name: str, v: Array) -> Array:
    """Apply an activation in place."""
    if name == "sigmoid":
        np.negative(v, out=v)
        # exp of a large number overflows; the reciprocal is 0, which is right.
        with np.errstate(over="ignore"):
            np.exp(v, out=v)
        v += 1
        np.reciprocal(v, out=v)
    elif name == "tanh":
        np.tanh(v, out=v)
    elif name == "softmax":
        v -= v.max(axis=-1, keepdims=True)
        np.exp(v, out=v)
        v /= v.sum(axis=-1, keepdims=True)
    return v


def _scale_by_slope(name: str, delta: Array, value: Array) -> None:
    """Multiply by an activation's derivative, given in terms of its value, in place."""
    if name == "linear":
        return
    slope = scratch("slope", value.shape, value.dtype)
    if name == "sigmoid":
        np.subtract(1, value, out=slope)
        slope *= value
    else:
        np.multiply(value, value, out=slope)
        np.subtract(1, slope, out=slope)
    delta *= slope


class MLP:
    """A fully connected network, evaluated for k weight vectors at once.

    Weights are flat: layer by layer the (n_in, n_out) matrix in C order, then, with `bias`, its n_out biases.

    Parameters
    ----------
    sizes : sequence of int
        Nodes of each layer, input first.
    hidden : {"sigmoid", "tanh"}, default "sigmoid"
        Activation of the hidden layers.
    loss : {"squared_error", "cross_entropy"}, default "squared_error"
        Half the squared error of a sigmoid output (or `output`), or the cross-entropy of a softmax output.
    output : {"sigmoid", "tanh", "linear"}, default "sigmoid"
        Activation of the output with the squared error.
    bias : bool, default False
        Whether layers have biases.
    reduction : {"sum", "mean"}, default "sum"
        Over the examples of a batch.

    Attributes
    ----------
    size : int
        s, the number of weights.

    Examples
    --------
    >>> MLP([24, 128, 64, 12]).size
    12032
    """

    pure = True

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str = "sigmoid",
        loss: str = "squared_error",
        output: str = "sigmoid",
        bias: bool = False,
        reduction: str = "sum",
    ) -> None:
        if len(sizes) < 2 or any(n < 1 for n in sizes):
            raise ValueError(f"sizes={list(sizes)}: give the nodes of at least two layers, each at least 1")
        for name, value, known in (
            ("hidden", hidden, ("sigmoid", "tanh")),
            ("loss", loss, ("squared_error", "cross_entropy")),
            ("output", output, ("sigmoid", "tanh", "linear")),
            ("reduction", reduction, ("sum", "mean")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known: give one of {', '.join(known)}")
        self.sizes, self.hidden, self.loss_name = tuple(int(n) for n in sizes), hidden, loss
        self.output, self.bias, self.reduction = output, bias, reduction
        self._last = "softmax" if loss == "cross_entropy" else output
        self._shapes = list(itertools.pairwise(self.sizes))
        starts = [0, *itertools.accumulate((a + bias) * b for a, b in self._shapes)]
        self._starts, self.size = starts[:-1], starts[-1]
        self._products = sum(a * b for a, b in self._shapes)
        # Other solves have the same network as another object.
        self._lanes_key = f"{self.sizes} {hidden} {self._last} {bias}"

    def __repr__(self) -> str:
        return f"MLP({list(self.sizes)}, hidden={self.hidden!r}, loss={self.loss_name!r}, bias={self.bias})"

    def fingerprint(self) -> str:
        """Return a fingerprint of this network, the same in every process."""
        return f"{self!r}, output={self.output!r}, reduction={self.reduction!r}"

    def footprint(self, batch: int) -> int:
        """Return the numbers that one state takes while its gradient is computed: weights and values of layers."""
        if batch * self._products <= LANES:
            return numbers(self._shapes, self.bias, batch)
        return 2 * self.size + 3 * batch * sum(self.sizes)

    def layers(self, weights: Array) -> list[tuple[Array, Array | None]]:
        """Return views of each layer's matrix (k, n_in, n_out) and biases (k, 1, n_out) or None."""
        k, views = len(weights), []
        for start, (a, b) in zip(self._starts, self._shapes, strict=True):
            matrix = weights[:, start : start + a * b].reshape(k, a, b)
            bias = weights[:, start + a * b : start + a * b + b].reshape(k, 1, b) if self.bias else None
            views.append((matrix, bias))
        return views

    def _forward(self, layers: Sequence[tuple[Array, Array | None]], x: Array) -> list[Array]:
        """Return the values of every layer, input first, each (k, B, n), in scratch arrays."""
        values = [x]
        for number, (matrix, bias) in enumerate(layers, 1):
            shape = (len(matrix), x.shape[-2], matrix.shape[-1])
            v = np.matmul(values[-1], matrix, out=scratch(f"values {number}", shape, matrix.dtype))
            if bias is not None:
                v += bias
            values.append(_activate(self.hidden if number < len(layers) else self._last, v))
        return values

    def predict(self, weights: Array, x: Array) -> Array:
        """Return the outputs.

        Parameters
        ----------
        weights : ndarray, shape (s,) or (k, s)
            One or k weight vectors.
        x : ndarray, shape (B, n_in) or (k, B, n_in)
            Inputs, shared or per weight vector.

        Returns
        -------
        ndarray, shape (B, n_out) or (k, B, n_out)
        """
        block = np.atleast_2d(weights)
        values = self._forward(self.layers(block), x)[-1].copy()
        return values[0] if weights.ndim == 1 else values

    def loss(self, weights: Array, x: Array, y: Array) -> Array:
        """Return the loss, shape () or (k,), for weights (s,) or (k, s), inputs and targets as in `gradient`."""
        out = self.predict(weights, x)
        if self.loss_name == "cross_entropy":
            each = -(y * np.log(np.maximum(out, np.finfo(out.dtype).tiny))).sum(axis=-1)
        else:
            each = 0.5 * ((out - y) ** 2).sum(axis=-1)
        return each.sum(axis=-1) if self.reduction == "sum" else each.mean(axis=-1)

    def gradient(self, weights: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        """Return the loss gradient by backpropagation.

        A row's result does not depend, to the bit, on how many rows there are.

        Parameters
        ----------
        weights : ndarray, shape (k, s)
            k weight vectors.
        x : ndarray, shape (B, n_in) or (k, B, n_in)
            Inputs, shared or per weight vector.
        y : ndarray, shape (B, n_out) or (k, B, n_out)
            Targets; one-hot rows for the cross-entropy.
        out : ndarray, shape (k, s), optional
            Where to put the result.

        Returns
        -------
        ndarray, shape (k, s)
        """
        gradient = np.empty(weights.shape, weights.dtype) if out is None else out
        scale = 1 / x.shape[-2] if self.reduction == "mean" else 1.0
        lanes = self._lanes(weights, x)
        if lanes is None:
            self._stacked(weights, x, y, scale, gradient)
        else:
            lanes.gradient(weights, x, y, scale, gradient)
        return gradient

    def descend(self, weights: Array, x: Array, y: Array, rate: float, out: Array) -> None:
        """Put ``weights - rate * gradient`` into `out`, which saves a pass over the gradient; see :meth:`gradient`."""
        scale = rate / x.shape[-2] if self.reduction == "mean" else rate
        lanes = self._lanes(weights, x)
        if lanes is None:
            self._stacked(weights, x, y, scale, out)
            np.subtract(weights, out, out=out)
        else:
            lanes.descend(weights, x, y, scale, out)

    def _lanes(self, weights: Array, x: Array) -> Lanes | None:
        """Return the lanes, which take the gradient of all states side by side; None if the network is too large."""
        k, batch, own = len(weights), x.shape[-2], x.ndim == 3
        if batch * self._products > LANES:
            return None
        dtype = weights.dtype

        def make() -> Lanes:
            return Lanes(self._shapes, self.hidden, self._last, self.bias, k, batch, own, dtype)

        lanes: Lanes = kept((self._lanes_key, k, batch, own, dtype), make)
        return lanes

    def _stacked(self, weights: Array, x: Array, y: Array, scale: float, gradient: Array) -> None:
        """Put the gradient, times `scale`, into `gradient`, by a matrix product per state."""
        if weights.nbytes >= READ_FIRST and weights.flags.c_contiguous:
            # One layer of all states after the other comes from memory at a third of the speed of all in a row, so the
            # weights are brought to the cache first: with 12,032 of them that saved a sixth of a step.
            flat = weights.reshape(-1)
            np.vdot(flat, flat)
        layers = self.layers(weights)
        values = self._forward(layers, x)
        into = self.layers(gradient)
        delta = np.subtract(values[-1], y, out=scratch("delta 0", values[-1].shape, weights.dtype))
        if self.loss_name == "squared_error":
            _scale_by_slope(self.output, delta, values[-1])
        if scale != 1.0:
            delta *= delta.dtype.type(scale)
        for number in range(len(layers) - 1, -1, -1):
            matrix, bias = into[number]
            if delta.shape[-2] == 1:
                # An outer product, with the same bits: to BLAS it is one of matrices, which takes 2.5 times as long.
                own = "kbi" if values[number].ndim == 3 else "bi"
                sum_of_products(f"{own},kbo->kio", values[number], delta, out=matrix, casting="same_kind")
            else:
                np.matmul(values[number].swapaxes(-1, -2), delta, out=matrix)
            if bias is not None:
                delta.sum(axis=-2, keepdims=True, out=bias)
            if number:
                before = scratch(f"delta {number}", values[number].shape, weights.dtype)
                delta = np.matmul(delta, layers[number][0].swapaxes(-1, -2), out=before)
                _scale_by_slope(self.hidden, delta, values[number])
