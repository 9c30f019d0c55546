"""Optimizers with moments as propagators: momentum, Nesterov's momentum, Adam and AdamW, as ``torch.optim`` has them.

The state is ``[weights, moments]``. Moments are kept times the learning rate, and the second moment of Adam as its
root, so that all entries have the unit of weights and the norm of a residual weighs them alike; the weights are those
of ``torch.optim``, except for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.data import DataRule
from daskmgrit.models.descent import Model
from daskmgrit.models.examples import Examples
from daskmgrit.recurrence.moments import least_second_moment, powers
from daskmgrit.recurrence.step_length import AnyCoarsening, StepLength
from daskmgrit.utils.validation import number_option

__all__ = ["OPTIMIZERS", "Adam", "Momentum", "OptimizerStep", "UpdateRule", "make_rule"]

Array = NDArray


class UpdateRule(Protocol):
    """The update of weights and moments by an optimizer, given a gradient."""

    moments: ClassVar[int]
    """Moments per weight."""

    def update(self, parts: Sequence[Array], gradient: Array, updates: Array, out: Sequence[Array]) -> None:
        """Put weights and moments after one update into `out`.

        Parameters
        ----------
        parts : sequence of ndarray, shape (k, p)
            Weights and moments.
        gradient : ndarray, shape (k, p)
            Loss gradient of each state.
        updates : ndarray of int, shape (k,)
            Updates that were made before.
        out : sequence of ndarray, shape (k, p)
            Where to put the new ones.
        """

    def mended(self, parts: Sequence[Array]) -> Sequence[Array]:
        """Return weights and moments that a training run can have, because a solver's corrections may give others."""


def _check_rate(rate: float) -> None:
    number_option("rate", rate, "a learning rate is a positive number", above=0)


def _check_decay(name: str, value: float, remedy: str) -> None:
    number_option(name, value, remedy, least=0, below=1)


@dataclass(frozen=True, slots=True)
class Momentum:
    """Gradient descent with momentum, ``torch.optim.SGD(momentum=…)``.

    Parameters
    ----------
    rate : float
        The learning rate.
    momentum : float, default 0.9
        beta of ``v = beta*v + g``.
    nesterov : bool, default False
        Whether the step is ``g + beta*v`` in place of v.
    weight_decay : float, default 0
        Added to the gradient, times the weights.
    """

    rate: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    moments: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        _check_decay("momentum", self.momentum, "it is the share of the last move that is kept, 0 to below 1")
        number_option("weight_decay", self.weight_decay, "it is at least 0", least=0)

    def update(self, parts: Sequence[Array], gradient: Array, updates: Array, out: Sequence[Array]) -> None:
        """Put weights and velocity, which is kept times the rate, into `out`."""
        (weights, velocity), (new_weights, new_velocity) = parts, out
        if self.weight_decay:
            gradient = gradient + self.weight_decay * weights
        move = self.rate * gradient
        np.multiply(velocity, self.momentum, out=new_velocity)
        new_velocity += move
        if self.nesterov:
            move += self.momentum * new_velocity
        np.subtract(weights, move if self.nesterov else new_velocity, out=new_weights)

    def mended(self, parts: Sequence[Array]) -> Sequence[Array]:
        """Return them as they are: a velocity can be anything."""
        return parts


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam, or AdamW with `decoupled` weight decay.

    Parameters
    ----------
    rate : float, default 1e-3
        The learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the first and the second moment.
    eps : float, default 1e-8
        Added to the root of the second moment.
    weight_decay : float, default 0
        Added to the gradient, times the weights; with `decoupled` weights shrink by ``1 - rate*weight_decay`` instead.
    decoupled : bool, default False
        AdamW.
    """

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    moments: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        for beta in self.betas:
            _check_decay("betas", beta, "give two numbers from 0 to below 1")
        number_option("eps", self.eps, "it is a positive number", above=0)
        number_option("weight_decay", self.weight_decay, "it is at least 0", least=0)

    def update(self, parts: Sequence[Array], gradient: Array, updates: Array, out: Sequence[Array]) -> None:
        """Put weights, first moment and root of the second, both times the rate, into `out`."""
        (weights, first, root), (new_weights, new_first, new_root) = parts, out
        (beta1, beta2), dtype = self.betas, weights.dtype
        counts = updates[:, None] + 1
        scale = (self.rate / (1 - powers(beta1, counts))).astype(dtype)
        unbias = (1 / np.sqrt(1 - powers(beta2, counts))).astype(dtype)
        if self.weight_decay and not self.decoupled:
            gradient = gradient + self.weight_decay * weights
        move = self.rate * gradient
        np.multiply(first, beta1, out=new_first)
        np.multiply(root, root, out=new_root)
        new_root *= beta2
        square = move * move
        square *= 1 - beta2
        new_root += square
        np.sqrt(new_root, out=new_root)
        move *= 1 - beta1
        new_first += move
        step, below = np.multiply(new_first, scale, out=move), np.multiply(new_root, unbias, out=square)
        below += self.rate * self.eps
        step /= below
        if self.decoupled:
            weights = (1 - self.rate * self.weight_decay) * weights
        np.subtract(weights, step, out=new_weights)

    def mended(self, parts: Sequence[Array]) -> Sequence[Array]:
        """Return them with the second moment raised to the minimum that the first allows."""
        weights, first, root = parts
        return weights, first, np.maximum(root, np.sqrt(least_second_moment(first, *self.betas)))


OPTIMIZERS = ("momentum", "nesterov", "adam", "adamw")


def make_rule(name: str, rate: float, **settings: Any) -> UpdateRule:
    """Return the rule of an optimizer.

    Parameters
    ----------
    name : {"momentum", "nesterov", "adam", "adamw"}
        The optimizer.
    rate : float
        The learning rate.
    **settings
        Parameters of :class:`Momentum` or :class:`Adam`. The weight decay of AdamW is 0.01 by default.

    Raises
    ------
    ValueError
        If there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer={name!r} is not known: give one of {', '.join(OPTIMIZERS)}")
    if name in ("momentum", "nesterov"):
        return Momentum(rate, nesterov=name == "nesterov", **settings)
    if name == "adamw":
        settings = {"weight_decay": 0.01} | settings
    return Adam(rate, decoupled=name == "adamw", **settings)


class OptimizerStep(AnyCoarsening):
    """One step of an optimizer with moments on a block of states.

    Gradient and update are separate, see :class:`daskmgrit.recurrence.split_propagator.SplitPropagator`.

    Parameters
    ----------
    model : MLP or alike
        Has ``size``, ``gradient(weights (k, p), x, y, out (k, p))`` and ``footprint(batch)``.
    weights : ndarray, shape (p,)
        Initial weights.
    x : ndarray, shape (K, n_in)
        Inputs of the training examples.
    y : ndarray, shape (K, n_out)
        Their targets.
    rule : UpdateRule
        The optimizer.
    data : DataRule
        Examples of a step, as in :class:`GradientDescent`.
    length : StepLength, optional
        Fine steps that a coarse step stands for: it makes that many updates with one gradient.

    Attributes
    ----------
    w0 : ndarray, shape (s,)
        The initial state: the weights, and moments of zero.

    Examples
    --------
    >>> from daskmgrit.models import MLP, AllExamples
    >>> phi = OptimizerStep(MLP([2, 1]), np.zeros(2), np.eye(2), np.ones((2, 1)), Adam(0.1), AllExamples())
    >>> phi.w0.shape, phi(phi.w0[None], np.arange(1), 0)[0, :2].round(6).tolist()
    ((6,), [0.1, 0.1])
    """

    def __init__(
        self,
        model: Model,
        weights: Array,
        x: Array,
        y: Array,
        rule: UpdateRule,
        data: DataRule,
        length: StepLength | None = None,
    ) -> None:
        self.model, self.rule, self.data = model, rule, data
        self.length = StepLength() if length is None else length
        self.size = len(weights)
        self.w0 = np.concatenate((weights, np.zeros(rule.moments * self.size, weights.dtype)))
        self._examples = Examples(x, y, data)

    @property
    def pure(self) -> bool:
        """Whether a solve can skip the trial: only if the model is declared pure, too."""
        return bool(getattr(self.model, "pure", False))

    @property
    def state_size(self) -> int:
        """Number of entries of a state, moments included."""
        return self.w0.size

    def _gradient(self, weights: Array, index: Array, level: int) -> Array:
        now = np.ascontiguousarray(weights[:, : self.size])
        gradient = np.empty(now.shape, now.dtype)
        for rows, x, y in self._examples.groups(self.model, index, level, now.dtype):
            self.model.gradient(now[rows], x, y, gradient[rows])
            share = self._examples.share(self.model, x)
            if share != 1.0:
                gradient[rows] *= share
        return gradient

    def gradient(self, weights: Array, index: Array) -> Array:
        """Return the loss gradient (k, p) of states (k, s) at fine steps (k,)."""
        return self._gradient(weights, index, 0)

    def _parts(self, state: Array) -> list[Array]:
        """Return views of weights and moments."""
        p = self.size
        return [state[:, start : start + p] for start in range(0, state.shape[1], p)]

    def advance(self, state: Array, gradient: Array, index: Array) -> Array:
        """Return the states (k, s) after the optimizer's update of states with gradients at fine steps (k,)."""
        new = np.empty(state.shape, state.dtype)
        # Corrections of a solver may have left moments that no gradients could.
        self.rule.update(self.rule.mended(self._parts(state)), gradient, index, self._parts(new))
        return new

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step of the level."""
        gradient, first = self._gradient(weights, index, level), index * self.length(level)
        new = weights
        for update in range(self.length.taken(level)):
            new = self.advance(new, gradient, first + update)
        return new

    def fingerprint(self) -> str:
        """Return a fingerprint of this step with its training data, the same in every process."""
        of_model = getattr(self.model, "fingerprint", None)
        model = of_model() if of_model else type(self.model).__qualname__
        return self._examples.fingerprint(f"{model} {self.rule!r} {self.data!r} {self.length!r}")

    def __repr__(self) -> str:
        return f"OptimizerStep({self.model!r}, rule={self.rule!r}, data={self.data!r})"
