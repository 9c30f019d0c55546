"""Gradients of small networks with the states side by side: each weight of all k states is one run in memory.

In BLAS a product of 4x3 and 3x4 matrices takes far longer to begin than to do, and there are five for each state. So
here a network is evaluated as if its weights were vectors of k numbers ("lanes"): each call of NumPy does all states.
The fixed cost of a call is kept low, too: the calls of a gradient are listed once together with their operands, views
of memory that the thread keeps, and from then on only run.

A lane's result does not depend, to the bit, on how many there are: they are the innermost axis of every call, and sums
over any other axis go in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.workspace import scratch
from daskmgrit.utils.private_api import sum_of_products

__all__ = ["Lanes", "numbers"]

Array = NDArray
Shapes = Sequence[tuple[int, int]]


def numbers(shapes: Shapes, bias: bool, batch: int) -> int:
    """Return the numbers that one state takes while its gradient is computed."""
    values = sum(b for _, b in shapes)
    return 2 * sum((a + bias) * b for a, b in shapes) + batch * (shapes[0][0] + shapes[-1][1] + 3 * values)


class Lanes:
    """The gradient of a network for `k` states, in memory of the thread that makes it.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Nodes before and after each layer.
    hidden, last : str
        Activations: "sigmoid" or "tanh", and for the last layer also "linear" or "softmax".
    bias : bool
        Whether layers have biases.
    k : int
        Number of states.
    batch : int
        Number of examples.
    own : bool
        Whether each state has its own examples.
    dtype : dtype
        Of weights and examples.
    """

    def __init__(
        self, shapes: Shapes, hidden: str, last: str, bias: bool, k: int, batch: int, own: bool, dtype: Any
    ) -> None:
        # NumPy leaves out axes of length one, and then another would be the innermost.
        self._width = max(k, 2)
        self._free = scratch("lanes", (self._width * numbers(shapes, bias, batch),), dtype)
        self._one, self._scale = np.ones((), dtype), np.ones((), dtype)
        size, outputs = sum((a + bias) * b for a, b in shapes), [b for _, b in shapes]
        # The weights' signs are changed: a sigmoid takes the exponential of minus its argument.
        self._minus_weights, gradient = self._take(size), self._take(size)
        self._gradient = gradient[:, :k].T
        self._own = (self._take(batch, shapes[0][0]), self._take(batch, outputs[-1])) if own else None
        (values, all_values), (slopes, all_slopes), (deltas, _) = (self._take_each(batch, outputs) for _ in range(3))
        layers, into = self._layers(shapes, bias, self._minus_weights), self._layers(shapes, bias, gradient)
        # Between the calls below come those that need the examples. Where all slopes are negated, so is the error.
        self._first, self._last = (layers[0][0], values[0]), (deltas[0], into[0][0])
        sloped = last in ("sigmoid", "tanh")
        self._end = (values[-1], deltas[-1], sloped)
        self._calls: list[partial[Any]] = []
        for number, (matrix, offset) in enumerate(layers):
            if number:
                self._sum("bik,iok->bok", values[number - 1], matrix, values[number])
            if offset is not None:
                self._do(np.add, values[number], offset, values[number])
            self._activate(hidden if number < len(layers) - 1 else last, values[number], slopes[number])
        self._forward, self._calls = self._calls, []
        self._do(np.multiply, deltas[-1], self._scale, deltas[-1])
        if hidden == last:
            self._minus_slope(last, all_values, all_slopes)
        else:
            for name, value, slope in zip([hidden] * (len(layers) - 1) + [last], values, slopes, strict=True):
                self._minus_slope(name, value, slope)
        if sloped:
            self._do(np.multiply, deltas[-1], slopes[-1], deltas[-1])
        for number in range(len(layers) - 1, -1, -1):
            if into[number][1] is not None:
                self._do(np.add.reduce, deltas[number], 0, None, into[number][1])
            if number:
                self._sum("bik,bok->iok", values[number - 1], deltas[number], into[number][0])
                self._sum("bok,iok->bik", deltas[number], layers[number][0], deltas[number - 1])
                self._do(np.multiply, deltas[number - 1], slopes[number - 1], deltas[number - 1])
        self._backward, self._calls = self._calls, []

    def _take(self, *shape: int) -> Array:
        size = math.prod(shape) * self._width
        part, self._free = self._free[:size], self._free[size:]
        return part.reshape(*shape, self._width)

    def _take_each(self, batch: int, nodes: Sequence[int]) -> tuple[list[Array], Array]:
        """Return memory for each layer, and all of it as one array."""
        whole = self._free[: batch * sum(nodes) * self._width]
        return [self._take(batch, n) for n in nodes], whole

    @staticmethod
    def _layers(shapes: Shapes, bias: bool, flat: Array) -> list[tuple[Array, Array | None]]:
        views, start = [], 0
        for a, b in shapes:
            end = start + a * b
            views.append((flat[start:end].reshape(a, b, -1), flat[end : end + b] if bias else None))
            start = end + bias * b
        return views

    def _do(self, function: Callable[..., Any], *operands: Any) -> None:
        self._calls.append(partial(function, *operands))

    def _sum(self, subscripts: str, left: Array, right: Array, out: Array) -> None:
        self._calls.append(partial(sum_of_products, subscripts, left, right, out=out))

    def _activate(self, name: str, v: Array, spare: Array) -> None:
        """Apply an activation to minus `v`."""
        if name == "sigmoid":
            self._do(np.exp, v, v)
            self._do(np.add, v, self._one, v)
            self._do(np.reciprocal, v, v)
            return
        self._do(np.negative, v, v)
        if name == "tanh":
            self._do(np.tanh, v, v)
        elif name == "softmax":
            each = spare[:, :1]
            self._do(np.maximum.reduce, v, 1, None, each, True)
            self._do(np.subtract, v, each, v)
            self._do(np.exp, v, v)
            self._do(np.add.reduce, v, 1, None, each, True)
            self._do(np.divide, v, each, v)

    def _minus_slope(self, name: str, value: Array, slope: Array) -> None:
        """Find minus an activation's derivative: the weights that a delta goes back through are negated, too."""
        if name == "sigmoid":
            self._do(np.subtract, value, self._one, slope)
            self._do(np.multiply, slope, value, slope)
        elif name == "tanh":
            self._do(np.multiply, value, value, slope)
            self._do(np.subtract, slope, self._one, slope)

    def _run(self, weights: Array, x: Array, y: Array, scale: float) -> None:
        np.negative(weights.T, self._minus_weights)
        self._scale[()] = scale
        if self._own is None:
            inputs, targets, subscripts = x.astype(self._scale.dtype, copy=False), y[:, :, None], "bi"
        else:
            (inputs, targets), subscripts = self._own, "bik"
            np.copyto(inputs, x.transpose(1, 2, 0))
            np.copyto(targets, y.transpose(1, 2, 0))
        # The exponential of a large number overflows; the sigmoid is then 0, which is right.
        with np.errstate(over="ignore"):
            sum_of_products(f"{subscripts},iok->bok", inputs, self._first[0], out=self._first[1])
            for call in self._forward:
                call()
            value, delta, sloped = self._end
            np.subtract(*((targets, value) if sloped else (value, targets)), delta)
            for call in self._backward:
                call()
            sum_of_products(f"{subscripts},bok->iok", inputs, self._last[0], out=self._last[1])

    def gradient(self, weights: Array, x: Array, y: Array, scale: float, out: Array) -> None:
        """Put the gradient, times `scale`, into `out`."""
        self._run(weights, x, y, scale)
        np.copyto(out, self._gradient)

    def descend(self, weights: Array, x: Array, y: Array, rate: float, out: Array) -> None:
        """Put the weights minus `rate` times the gradient into `out`."""
        self._run(weights, x, y, rate)
        np.subtract(weights, self._gradient, out)
