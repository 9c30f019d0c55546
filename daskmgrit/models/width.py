"""Coarse levels that train a narrower network (paper, Remark 2): its model, and the transfer of weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.mlp import MLP

__all__ = ["Narrowing"]

Array = NDArray


class Narrowing:
    """A perceptron whose hidden layers have half the nodes on each level that is narrowed.

    A node of the narrower network stands for two neighbours of the wider one: the weights that enter it are their
    mean, those that leave it their sum. In the other direction two nodes have the same incoming weights and share the
    outgoing ones: that wider network has the same outputs. It is a model for
    :class:`daskmgrit.models.GradientDescent`, which tells networks apart by their number of weights, and a `transfer`
    of :class:`daskmgrit.MGRIT`.

    Parameters
    ----------
    model : MLP
        The network of level 0.

    Attributes
    ----------
    models : list of MLP
        The networks, widest first.

    Notes
    -----
    The gradient of a narrower network is scaled so that a step of it is that of the wider network with paired nodes,
    restricted: by 1/2 for weights that enter a narrowed layer, by 2 for those that leave one.

    Examples
    --------
    >>> narrowing = Narrowing(MLP([3, 4, 1]))
    >>> [model.sizes for model in narrowing.models]
    [(3, 4, 1), (3, 2, 1), (3, 1, 1)]
    >>> narrow = narrowing.restrict(np.ones((1, 16)), 0)
    >>> narrow.tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]]
    >>> bool((narrowing.interpolate(narrow, 0) == 1).all())
    True
    """

    def __init__(self, model: MLP) -> None:
        self.models = [model]
        while len(model.sizes) > 2 and all(n % 2 == 0 for n in model.sizes[1:-1]):
            first, *hidden, last = model.sizes
            model = MLP(
                [first, *(n // 2 for n in hidden), last],
                model.hidden,
                model.loss_name,
                model.output,
                model.bias,
                model.reduction,
            )
            self.models.append(model)
        if len(self.models) == 1:
            raise ValueError(
                f"model={model!r} cannot be narrowed: give one with hidden layers, each of an even number of nodes"
            )
        self._known = {each.size: (number, each, self._scale(number, each)) for number, each in enumerate(self.models)}

    def __repr__(self) -> str:
        return f"Narrowing({self.models[0]!r})"

    @staticmethod
    def _scale(number: int, model: MLP) -> Array | None:
        """Return the gradient's scale by weight, None where it is 1."""
        if not number:
            return None
        scale = np.ones((1, model.size))
        layers = model.layers(scale)
        for place, (matrix, bias) in enumerate(layers):
            if place:
                matrix *= 2.0**number
            if place < len(layers) - 1:
                matrix *= 0.5**number
                if bias is not None:
                    bias *= 0.5**number
        return scale[0]

    def _find(self, weights: Array) -> tuple[int, MLP, Array | None]:
        if weights.shape[1] not in self._known:
            raise ValueError(
                f"states have {weights.shape[1]} weights, but the networks have {', '.join(map(str, self._known))}: "
                "start from the weights of one of these"
            )
        return self._known[weights.shape[1]]

    def footprint(self, batch: int) -> int:
        """Return the numbers that a state of the widest network takes while its gradient is computed."""
        return self.models[0].footprint(batch)

    def gradient(self, weights: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        """Return the scaled loss gradient; arguments are those of :meth:`MLP.gradient`."""
        _, model, scale = self._find(weights)
        gradient = model.gradient(weights, x, y, out)
        if scale is not None:
            gradient *= scale.astype(gradient.dtype)
        return gradient

    def restrict(self, weights: Array, level: int) -> Array:
        """Return the weights (k, s_c) of the next narrower network."""
        number, model, _ = self._find(weights)
        if number == len(self.models) - 1:
            raise ValueError(
                f"{model!r} (level {level}) cannot be narrowed further: end the list of transfers with None, as in "
                f"transfer=[{', '.join(['narrowing'] * number)}, None]"
            )
        new = np.empty((len(weights), self.models[number + 1].size), weights.dtype)
        old, layers = model.layers(weights), self.models[number + 1].layers(new)
        for place, ((matrix, bias), (narrow, narrow_bias)) in enumerate(zip(old, layers, strict=True)):
            if place:
                matrix = matrix[:, ::2] + matrix[:, 1::2]
            if place < len(layers) - 1:
                matrix = 0.5 * (matrix[:, :, ::2] + matrix[:, :, 1::2])
                bias = None if bias is None else 0.5 * (bias[:, :, ::2] + bias[:, :, 1::2])
            narrow[...] = matrix
            if narrow_bias is not None:
                narrow_bias[...] = bias
        return new

    def interpolate(self, weights: Array, level: int) -> Array:
        """Return the weights (k, s) of the next wider network."""
        number, model, _ = self._find(weights)
        new = np.empty((len(weights), self.models[number - 1].size), weights.dtype)
        old, layers = model.layers(weights), self.models[number - 1].layers(new)
        for place, ((matrix, bias), (wide, wide_bias)) in enumerate(zip(old, layers, strict=True)):
            if place:
                matrix = 0.5 * np.repeat(matrix, 2, axis=1)
            if place < len(layers) - 1:
                matrix = np.repeat(matrix, 2, axis=2)
                bias = None if bias is None else np.repeat(bias, 2, axis=2)
            wide[...] = matrix
            if wide_bias is not None:
                wide_bias[...] = bias
        return new
