"""Gradient descent as a Phi: ``w - alpha * gradient`` (paper, equation 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.chebyshev import DAMPING
from daskmgrit.coarse.curvatures import Curvatures
from daskmgrit.coarse.exponential import check_size
from daskmgrit.coarse.rule import CoarseRule
from daskmgrit.display.html import Markup, block, fields
from daskmgrit.models.data import DataRule
from daskmgrit.models.examples import Examples
from daskmgrit.models.rates import RateRule
from daskmgrit.recurrence.propagator import Preparation
from daskmgrit.utils.validation import integer_option

__all__ = ["GradientDescent"]

# Maximum number of levels whose learning rates are shown.
LEVELS_SHOWN = 8

Array = NDArray


class Model(Protocol):
    """The interface of a model for gradient descent."""

    reduction: str
    """ "sum" or "mean", over the examples of a batch; only asked for where a data rule gives windows."""

    def footprint(self, batch: int) -> int:
        """Return the numbers that one state takes while its gradient is computed."""

    def gradient(self, weights: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        """Return the loss gradient of each state."""


def _own_descent(model: Model) -> Callable[..., None] | None:
    """Return the model's ``descend``; None if it has none or a subclass overrides its gradient."""
    for kind in type(model).__mro__:
        if "descend" in vars(kind):
            found: Callable[..., None] = model.descend  # type: ignore[attr-defined]
            return found
        if "gradient" in vars(kind):
            return None
    return None


class GradientDescent:
    """One step of gradient descent on a block of states.

    Parameters
    ----------
    model : MLP or alike
        Has ``gradient(weights (k, s), x, y, out (k, s))``, which puts the loss gradient into `out`, and
        ``footprint(batch)``. It may have ``descend(weights, x, y, rate, out)``, which puts
        ``weights - rate * gradient`` there.
    x : ndarray, shape (K, n_in)
        Inputs of the training examples.
    y : ndarray, shape (K, n_out)
        Their targets.
    rate : RateRule
        Learning rate of a level.
    data : DataRule
        Examples of a step. Where the rule has a true attribute ``average``, a step sees their average instead. Where it
        has ``per_step``, as :class:`~daskmgrit.models.Window` has, a step takes the mean of the gradients of fine steps
        with that many examples each.
    repeats : int, default 1
        Descents per step, all with the step's data and rate.
    coarse : str or sequence of str, default "capped"
        Method for steps that are longer than the rate's maximum: "capped", "substeps", "chebyshev", "exponential" or
        "deflated", for all levels or one per level, see :class:`daskmgrit.coarse.CoarseRule`.
    damping : float, default 0.05
        eps of the Chebyshev step.
    max_stages : int, optional
        Maximum number of stages; longer steps are shortened to the length for which these are stable.
    curvatures : Curvatures, optional
        With "deflated": the largest curvatures, by :func:`daskmgrit.coarse.find_curvatures`.

    Examples
    --------
    >>> from daskmgrit.models import MLP, AllExamples, CappedRate
    >>> rate = CappedRate(0.1, 0.2)
    >>> phi = GradientDescent(MLP([2, 1]), np.eye(2), np.ones((2, 1)), rate, AllExamples(), coarse="chebyshev")
    >>> phi(np.zeros((3, 2)), np.arange(3), 4).shape, phi.stages(4)
    ((3, 2), 3)
    """

    def __init__(
        self,
        model: Model,
        x: Array,
        y: Array,
        rate: RateRule,
        data: DataRule,
        repeats: int = 1,
        coarse: str | Sequence[str] = "capped",
        damping: float = DAMPING,
        max_stages: int | None = None,
        curvatures: Curvatures | None = None,
    ) -> None:
        self.model, self.x, self.y, self.rate, self.data, self.repeats = model, x, y, rate, data, repeats
        self.coarse = CoarseRule(coarse, rate.maximum, damping, max_stages, rate.length(0), curvatures)
        if "exponential" in self.coarse.method:
            # Before a Hessian of a large one is asked for.
            check_size(getattr(model, "size", 0))
        self._examples = Examples(x, y, data)
        # Asked for with every call.
        self._stages: dict[int, int] = {}
        self._plain: dict[int, bool] = {}
        self._descends: Callable[..., None] = _own_descent(model) or self._plain_descent

    @property
    def pure(self) -> bool:
        """Whether a solve can skip the trial: only if the model is declared pure, too."""
        return bool(getattr(self.model, "pure", False))

    @property
    def state_size(self) -> int | None:
        """Number of weights of a state; None if the model does not tell."""
        return getattr(self.model, "size", None)

    @property
    def preparation(self) -> Preparation:
        """The gradients that found curvatures."""
        return self.coarse.preparation

    @property
    def coarsening(self) -> int | Sequence[int] | None:
        """The coarsening factor, or factors, that its data or its rate were made for; None if neither tells."""
        rules = (self.data, "coarsening"), (self.data, "injection"), (self.rate, "factor")
        for factors in (getattr(rule, name, None) for rule, name in rules):
            each = factors if isinstance(factors, Sequence) else [factors]
            if factors and all(isinstance(factor, int) and factor >= 2 for factor in each):
                return factors
        return None

    def stages(self, level: int) -> int:
        """Return how many gradients a descent on `level` takes, one after another."""
        if level not in self._stages:
            self._stages[level] = self.coarse.stages(self.rate.length(level), level)
        return self._stages[level]

    def plain(self, level: int) -> bool:
        """Return whether a descent on `level` is one plain step."""
        if level not in self._plain:
            self._plain[level] = self.coarse.plain(self.rate.length(level), level)
        return self._plain[level]

    def shortfall(self, level: int) -> float:
        """Return the factor by which a step of `level` is shorter than the fine steps that it stands for."""
        return self.rate.length(level) / self.coarse.covered(self.rate.length(level), level)

    def rough_guess(self, steps: int) -> Array | None:
        """Return the initial guess (steps + 1, s) of the rough run that curvatures were found in; None without them."""
        integer_option("steps", steps, 1, "it is the number of training steps")
        found = self.coarse.curvatures
        return None if found is None else found.guess(steps, self.rate.length(0) * self.repeats)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step."""
        return self._step(weights, index, level, None)

    def at_rate(self, weights: Array, index: Array, level: int, rate: float) -> Array:
        """Return the states after one plain step at another rate, with the data of `level`."""
        return self._step(weights, index, level, rate)

    def _step(self, weights: Array, index: Array, level: int, plain: float | None) -> Array:
        new = np.empty(weights.shape, weights.dtype)
        if plain is None and self.plain(level):
            plain = self.rate(level)
        for rows, x, y in self._examples.groups(self.model, index, level, weights.dtype):
            before = weights[rows]
            for repeat in range(self.repeats):
                if repeat:
                    before = new[rows].copy()
                if plain is None:
                    new[rows] = self._long_step(before, x, y, level, index[rows] * self.repeats)
                else:
                    self._descends(before, x, y, plain * self._examples.share(self.model, x), new[rows])
        return new

    def _plain_descent(self, before: Array, x: Array, y: Array, rate: float, new: Array) -> None:
        """Take one plain step, into `new`."""
        self.model.gradient(before, x, y, new)
        new *= -new.dtype.type(rate)
        new += before

    def _long_step(self, before: Array, x: Array, y: Array, level: int, index: Array) -> Array:
        """Take one step that is not a plain one; `index` counts descents."""
        share = self._examples.share(self.model, x)

        def gradient(states: Array) -> Array:
            found = self.model.gradient(states, x, y)
            return found if share == 1.0 else found * share

        return self.coarse.step(gradient, before, self.rate.length(level), level, index)

    def fingerprint(self) -> str:
        """Return a fingerprint of this step with its training data, the same in every process, for checkpoints."""
        of_model = getattr(self.model, "fingerprint", None)
        model = of_model() if of_model else type(self.model).__qualname__
        found = self.coarse.curvatures
        rules = f"{self.rate!r} {self.data!r} {self.repeats} {self.coarse!r}{'' if found is None else found!r}"
        return self._examples.fingerprint(f"{model} {rules}")

    def __repr__(self) -> str:
        return f"GradientDescent({self.model!r}, rate={self.rate!r}, data={self.data!r})"

    def _repr_html_(self) -> str:
        return _view(self)


def _view(phi: GradientDescent) -> Markup:
    """Return the model, the data and the rules of gradient descent."""
    rates = ", ".join(f"{phi.rate(level):.4g}" for level in range(LEVELS_SHOWN))
    rows = [
        ("model", repr(phi.model)),
        ("weights", getattr(phi.model, "size", "?")),
        ("examples", f"{len(phi.x)}: inputs {phi.x.shape}, targets {phi.y.shape}, {phi.x.dtype}"),
        ("a step sees", repr(phi.data)),
        ("learning rate", repr(phi.rate)),
        ("… on level 0, 1, …", f"{rates}, …"),
    ]
    if phi.repeats > 1:
        rows.append(("descents per step", phi.repeats))
    return block("GradientDescent", fields(rows))
