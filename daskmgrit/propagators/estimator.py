"""Estimators of scikit-learn that learn by ``partial_fit`` as propagators."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.models.data import AllExamples, DataRule, Serial
from daskmgrit.recurrence.moments import least_second_moment
from daskmgrit.recurrence.propagator import at_row
from daskmgrit.recurrence.state import one_state
from daskmgrit.recurrence.step_length import AnyCoarsening, StepLength
from daskmgrit.utils.array_api import Array
from daskmgrit.utils.install_hint import install_hint
from daskmgrit.utils.private_api import forget_losses, trainer_of
from daskmgrit.utils.validation import integer_option

__all__ = ["EstimatorPropagator", "from_estimator"]


def from_estimator(
    estimator: Any,
    x: Any,
    y: Any,
    batch: int | DataRule | None = None,
    *,
    coarsening: int | Sequence[int] = 2,
    cap: int | None = None,
) -> EstimatorPropagator:
    """Make a propagator of a scikit-learn estimator: a step is one ``partial_fit``.

    Parameters
    ----------
    estimator : estimator
        SGDClassifier, SGDRegressor, Perceptron, MLPClassifier or MLPRegressor.
        Fitted or not; it is not changed. Training continues from its weights, or begins with the estimator's own
        initial weights. A `random_state` of None is taken as the number of the step.
    x : array_like, shape (K, n)
        Training inputs.
    y : array_like, shape (K,) or (K, n_out)
        Targets.
    batch : int or data rule, optional
        Examples per step, taken in turn (:class:`daskmgrit.models.Serial`), or a rule of
        :mod:`daskmgrit.models`. By default every step sees all examples.
    coarsening, cap
        As in :func:`daskmgrit.from_function`: a coarse step's rate is ``M = min(m**level, cap)`` times the fine one.

    Returns
    -------
    EstimatorPropagator
        ``phi.w0`` is the state to start from, ``phi.estimator(result.final)`` the trained estimator.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError
        If `estimator` is of another class.
    ValueError
        If a setting makes a step depend on more than its state and its number; the message names it.

    Notes
    -----
    The state of a multilayer perceptron includes its momenta, Adam's second as its root. The root has the size of a
    gradient, so the residual weights it correctly. A coarse step has momentum ``beta**M`` and, so that it moves as far,
    the rate ``M*rate*(1-beta**M)/(1-beta)`` on velocities in units of M fine steps; with Adam ``beta1**M``,
    ``beta2**M`` and the rate ``M*rate``. For the linear models a coarse step takes the fine step's change M times.

    Examples
    --------
    >>> import daskmgrit as dm
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import SGDClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1e-4, random_state=0)
    >>> phi = dm.from_estimator(model, x, y, cap=4)
    >>> result = dm.MGRIT(phi, 16).solve(phi.w0, "constant")
    >>> result.reason, phi.estimator(result.final).score(x, y) > 0.6
    ('tol', True)
    """
    try:
        from sklearn.base import is_classifier
        from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    except ImportError:
        raise ImportError(
            f"from_estimator needs scikit-learn, which is not installed: {install_hint('digits')}"
        ) from None
    linear = isinstance(estimator, SGDClassifier | SGDRegressor | Perceptron)
    if isinstance(estimator, type):
        raise TypeError(f"estimator={estimator.__name__} is a class: give an object of it, {estimator.__name__}(…)")
    if not linear and not isinstance(estimator, MLPClassifier | MLPRegressor):
        raise TypeError(
            f"estimator={estimator!r} is none of SGDClassifier, SGDRegressor, Perceptron, MLPClassifier and "
            "MLPRegressor: the state of others is not known; wrap its training loop by daskmgrit.from_function"
        )
    _check_settings(estimator)
    if hasattr(x, "toarray"):
        raise TypeError(f"x is a sparse {type(x).__name__}: give an array, x.toarray()")
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x has shape {x.shape} and y {y.shape}: give x (K, n) and y (K,) or (K, n_out)")
    if batch is not None and not callable(batch):
        batch = integer_option("batch", batch, 1, "it is the number of examples of a step", most=len(x))
    data = AllExamples() if batch is None else batch if callable(batch) else Serial(len(x), batch)
    first = _chosen(data, np.zeros(1, int), 0)[0]
    model = _with_weights(estimator, x[first], y[first], np.unique(y) if is_classifier(estimator) else None)
    return EstimatorPropagator(model, x, y, data, StepLength(coarsening, cap))


def _check_settings(estimator: Any) -> None:
    """Raise if a step would depend on more than its state and its number."""
    wrong = {
        "early_stopping": (lambda value: value, "it depends on earlier steps: leave it out"),
        "average": (lambda value: value, "the average is over all steps: compute it from result.weights"),
        "learning_rate": (lambda value: value == "adaptive", "this rate depends on earlier losses: give another"),
        "solver": (lambda value: value == "lbfgs", "it has no partial_fit: give 'sgd' or 'adam'"),
        "random_state": (
            lambda value: value is not None and not isinstance(value, int | np.integer),
            "a generator continues from step to step: give an integer or None",
        ),
    }
    for name, (refused, remedy) in wrong.items():
        value = getattr(estimator, name, None)
        if refused(value):
            raise ValueError(f"estimator has {name}={value!r}: {remedy}")


def _chosen(data: DataRule, index: Array, level: int) -> list[Any]:
    """Return the function that picks the examples of each step."""
    numbers = data(index, level)
    return [slice(None)] * len(index) if numbers is None else list(numbers)


def _with_weights(estimator: Any, x: Array, y: Array, labels: Array | None) -> Any:
    """Return a copy with weights: its own, or its initial ones."""
    model = copy.deepcopy(estimator)
    if hasattr(model, "coef_") or hasattr(model, "coefs_"):
        return model
    classes = {} if labels is None else {"classes": labels}
    if hasattr(model, "hidden_layer_sizes"):
        # A step of no length draws the initial weights and leaves them as they are.
        model.set_params(learning_rate_init=1e-300)
        model.partial_fit(x, y, **classes)
        model.set_params(learning_rate_init=estimator.learning_rate_init)
        model.t_, trainer_of(model).t = 0, 0
        for moments in _Perceptron.moments(model):
            for array in moments:
                array[...] = 0
    else:
        model.partial_fit(x, y, **classes)
        model.coef_, model.intercept_ = np.zeros_like(model.coef_), np.zeros_like(model.intercept_)
        model.t_ = 1.0
    return model


class _Linear:
    """State of a linear model: coefficients and intercepts. Its clock follows from the step."""

    def __init__(self, model: Any, length: StepLength, examples: int) -> None:
        self.length, self.examples, self.clock = length, examples, float(model.t_)

    def read(self, model: Any) -> list[Array]:
        return [model.coef_, model.intercept_]

    def write(self, model: Any, arrays: list[Array], fine: int, level: int) -> None:
        model.coef_, model.intercept_ = arrays
        model.t_ = self.clock + fine * self.examples

    def finish(self, w: Array, new: Array, level: int) -> Array:
        times = self.length.taken(level)
        return new if times == 1 else w + times * (new - w)


class _Perceptron:
    """State of a multilayer perceptron: weights and the optimizer's momenta. Its clocks follow from the step."""

    def __init__(self, model: Any, length: StepLength, examples: int) -> None:
        self.length, self.examples, self.clock = length, examples, model.t_
        self.layers, self.adam = len(model.coefs_), model.solver == "adam"
        size = min(200, examples) if model.batch_size == "auto" else min(model.batch_size, examples)
        self.updates, self.count = math.ceil(examples / size), getattr(trainer_of(model), "t", 0)

    @staticmethod
    def moments(model: Any) -> list[list[Array]]:
        optimizer = trainer_of(model)
        return [optimizer.ms, optimizer.vs] if model.solver == "adam" else [optimizer.velocities]

    def read(self, model: Any) -> list[Array]:
        first, *second = self.moments(model)
        return [*model.coefs_, *model.intercepts_, *first, *(np.sqrt(v) for moments in second for v in moments)]

    def write(self, model: Any, arrays: list[Array], fine: int, level: int) -> None:
        n, times, optimizer = 2 * self.layers, self.length.taken(level), trainer_of(model)
        model.coefs_, model.intercepts_ = arrays[: self.layers], arrays[self.layers : n]
        model.t_ = self.clock + fine * self.examples
        # Its record of losses may stop a fit, not a partial_fit.
        forget_losses(model)
        rate = float(model.learning_rate_init)
        optimizer.learning_rate_init = times * rate
        if self.adam:
            optimizer.beta_1, optimizer.beta_2 = model.beta_1**times, model.beta_2**times
            # Bias is corrected by 1 - beta**t, with the beta of this level.
            optimizer.t = (self.count + fine * self.updates) / times
            optimizer.ms = arrays[n : 2 * n]
            optimizer.vs = [
                np.maximum(root * root, least_second_moment(m, model.beta_1, model.beta_2))
                for m, root in zip(optimizer.ms, arrays[2 * n :], strict=True)
            ]
            return
        if model.learning_rate == "invscaling":
            rate /= (model.t_ + 1) ** model.power_t
        beta = model.momentum
        optimizer.momentum = beta**times
        optimizer.learning_rate = rate * times * (times if beta == 1 else (1 - beta**times) / (1 - beta))
        optimizer.velocities = [times * velocity for velocity in arrays[n:]]

    def finish(self, w: Array, new: Array, level: int) -> Array:
        times = self.length.taken(level)
        if times > 1 and not self.adam:
            new[len(new) // 2 :] /= times
        return new


class EstimatorPropagator(AnyCoarsening):
    """One ``partial_fit`` as a propagator; see :func:`from_estimator`.

    Attributes
    ----------
    w0 : ndarray, shape (s,)
        The state to start from: coefficients, intercepts, then momenta where there are any.
    """

    pure = True

    def __init__(self, model: Any, x: Array, y: Array, data: DataRule, length: StepLength) -> None:
        self.x, self.y, self.data, self.length = x, y, data, length
        first = _chosen(data, np.zeros(1, int), 0)[0]
        self.model = model
        examples = len(x[first])
        kind = _Perceptron if hasattr(model, "coefs_") else _Linear
        self.state = kind(model, length, examples)
        arrays = self.state.read(model)
        self.shapes = [array.shape for array in arrays]
        self.w0 = np.concatenate([np.ravel(array) for array in arrays])
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def with_coarsening(self, coarsening: int | Sequence[int]) -> Self:
        """Return the same propagator for a solver with other coarsening factors."""
        made = super().with_coarsening(coarsening)
        made.state = copy.copy(self.state)
        made.state.length = made.length
        return made

    def __repr__(self) -> str:
        return f"from_estimator({self.model!r})"

    def _load(self, model: Any, w: Array, fine: int, level: int) -> None:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        arrays = [part.reshape(shape) for part, shape in zip(np.split(w, ends), self.shapes, strict=True)]
        self.state.write(model, arrays, fine, level)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step of the level."""
        if weights.shape[1] != self.w0.size or weights.dtype != self.w0.dtype:
            raise PropagatorError(
                f"weights have {weights.shape[1]} entries of {weights.dtype}, but the estimator's state has "
                f"{self.w0.size} of {self.w0.dtype}: start from phi.w0"
            )
        if not hasattr(self._local, "model"):
            # A copy for each thread: partial_fit changes it.
            self._local.model = copy.deepcopy(self.model)
        model, new = self._local.model, np.empty(weights.shape, weights.dtype)
        free = self.model.random_state is None
        for row, (w, i, rows) in enumerate(zip(weights, index, _chosen(self.data, index, level), strict=True)):
            fine = int(i) * self.length(level)
            self._load(model, w.copy(), fine, level)
            if free:
                model.random_state = fine
            with at_row(row, len(index)):
                model.partial_fit(self.x[rows], self.y[rows])
            after = np.concatenate([np.ravel(array) for array in self.state.read(model)])
            new[row] = self.state.finish(w, after, level)
        return new

    def estimator(self, state: Array, steps: int = 0) -> Any:
        """Return an estimator with the weights of a state.

        Parameters
        ----------
        state : ndarray, shape (s,)
            The state, such as ``result.final``.
        steps : int, default 0
            Steps done up to this state, for the clock of an estimator that will be trained further.
        """
        model = copy.deepcopy(self.model)
        self._load(model, one_state(state, self.w0), steps, 0)
        return model
