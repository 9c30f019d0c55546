"""Optimizers of PyTorch as pure functions of weights, moments, gradient and step.

A coarse step of length M is M updates with one gradient g, in closed form: momenta decay by ``beta**M``, and their and
g's contributions to the weights are summed over the M updates, each at the learning rate of its own fine step. Level 0
has M = 1, which is the optimizer itself. For plain SGD the rule is the paper's, M times the rate (equation 14).
Decay of the weights that is part of the gradient (`weight_decay` of SGD and Adam) is fixed with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from daskmgrit.recurrence.moments import least_second_moment, powers

__all__ = ["Adam", "Rule", "Schedule", "Sgd", "read_optimizer"]

Array = np.ndarray


class Schedule:
    """Factors of the learning rate by fine step, each computed once.

    Parameters
    ----------
    factor : callable, sequence of float or None
        ``factor(i)`` for fine step i, or the factors themselves, the last repeating; None for a constant rate.

    Raises
    ------
    TypeError, ValueError
        If `factor` gives no numbers.
    """

    def __init__(self, factor: Callable[[int], float] | Sequence[float] | None) -> None:
        self._known: dict[int, float] = {}
        self.factor = factor
        if factor is None:
            return
        try:
            if not callable(factor):
                self.factor = [float(value) for value in factor]
                if not self.factor:
                    raise IndexError
            self._of(0)
        except IndexError:
            raise ValueError(
                "schedule=[] is empty: give a factor for each fine step, or a function of its number"
            ) from None
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"schedule={factor!r} gives no factors of the learning rate ({error}): give a function of the fine "
                "step's number that returns a factor, or a sequence of factors"
            ) from error

    def __call__(self, first: Array, times: int) -> Array:
        """Return the factors of updates ``first … first+times-1``, shape (k, times); (1, times) if all are alike."""
        if self.factor is None:
            return np.ones((1, times))
        steps = first[:, None] + np.arange(times)
        return np.array([[self._of(int(step)) for step in row] for row in steps])

    def _of(self, step: int) -> float:
        if step not in self._known:
            known = self.factor
            assert known is not None
            self._known[step] = float(known(step) if callable(known) else known[min(step, len(known) - 1)])
        return self._known[step]


class Rule(ABC):
    """An optimizer: its moments are part of the state.

    Attributes
    ----------
    rate : float
        The learning rate.
    moments : int
        Moments per weight.
    decay : float
        Decay of the weights.
    counts : bool
        Whether an update depends on the number of updates before it.
    """

    rate: float
    moments: int
    decay: float
    counts: bool

    @abstractmethod
    def initial(self, state: dict[str, Any], like: torch.Tensor) -> list[torch.Tensor]:
        """Return a parameter's moments from its state in an optimizer of PyTorch, zero without state."""

    @abstractmethod
    def kept(self, moments: Sequence[torch.Tensor], updates: int) -> dict[str, Any]:
        """Return what an optimizer of PyTorch keeps of a parameter with these moments, after a number of updates."""

    @abstractmethod
    def factors(self, rates: Array, before: Array) -> list[Array]:
        """Return the factors of the updates, which depend on their numbers only.

        Parameters
        ----------
        rates : ndarray, shape (k, M) or (1, M)
            Learning rate of each update.
        before : ndarray, shape (k,)
            Updates that were made before these.

        Returns
        -------
        list of ndarray, shapes (k, 1) and (M, k, 1), or with 1 in place of k
        """

    @abstractmethod
    def update(
        self,
        weights: torch.Tensor,
        moments: Sequence[torch.Tensor],
        gradient: torch.Tensor,
        factors: Sequence[torch.Tensor],
        times: int,
    ) -> tuple[torch.Tensor, ...]:
        """Return weights and moments after M updates with one gradient.

        Parameters
        ----------
        weights, gradient : Tensor, shape (k, p)
        moments : sequence of Tensor, shape (k, p)
        factors : sequence of Tensor
            The result of :meth:`factors`.
        times : int
            M.
        """


# Updates of Adam that are computed at once: few calls for a device, at this many times the memory of a state.
_TOGETHER = 16


@dataclass(frozen=True)
class Sgd(Rule):
    """Stochastic gradient descent with momentum, Nesterov's or not."""

    rate: float
    momentum: float
    nesterov: bool
    decay: float
    counts = False

    @property
    def moments(self) -> int:  # type: ignore[override]
        """One with momentum."""
        return int(self.momentum != 0)

    def initial(self, state: dict[str, Any], like: torch.Tensor) -> list[torch.Tensor]:
        """Return the momentum buffer."""
        if not self.momentum:
            return []
        buffer = state.get("momentum_buffer")
        return [torch.zeros_like(like) if buffer is None else buffer]

    def kept(self, moments: Sequence[torch.Tensor], updates: int) -> dict[str, Any]:
        """Return the momentum buffer."""
        return {"momentum_buffer": moments[0]} if moments else {}

    def factors(self, rates: Array, before: Array) -> list[Array]:
        """Return the sums of rates by which gradient and velocity move the weights."""
        if not self.momentum:
            return [rates.sum(axis=1)[:, None]]
        decays, sums = self._after(rates.shape[1])
        carried, added = decays[1:], sums[1:]
        if self.nesterov:
            carried, added = self.momentum * carried, 1 + self.momentum * added
        return [(rates * carried).sum(axis=1)[:, None], (rates * added).sum(axis=1)[:, None]]

    def _after(self, times: int) -> tuple[Array, Array]:
        """Return v after j updates, ``decays[j]*v + sums[j]*g``."""
        decays = powers(self.momentum, np.arange(times + 1))
        return decays, np.concatenate(([0.0], np.cumsum(decays[:-1])))

    def update(
        self,
        weights: torch.Tensor,
        moments: Sequence[torch.Tensor],
        gradient: torch.Tensor,
        factors: Sequence[torch.Tensor],
        times: int,
    ) -> tuple[torch.Tensor, ...]:
        """Sum ``v = beta*v + g`` over the updates."""
        if self.decay:
            gradient = gradient + self.decay * weights
        if not self.momentum:
            return (weights - factors[0] * gradient,)
        (velocity,), (carried, added) = moments, factors
        decays, sums = self._after(times)
        return (
            weights - (carried * velocity + added * gradient),
            float(decays[-1]) * velocity + float(sums[-1]) * gradient,
        )


@dataclass(frozen=True)
class Adam(Rule):
    """Adam, or AdamW with `decoupled` weight decay. The state has the root of the second moment.

    The root is of the size of a gradient, so a residual of the size of the tolerance means the same for both moments.
    """

    rate: float
    betas: tuple[float, float]
    eps: float
    decay: float
    decoupled: bool
    moments = 2
    counts = True

    def initial(self, state: dict[str, Any], like: torch.Tensor) -> list[torch.Tensor]:
        """Return both moments."""
        if "exp_avg" not in state:
            return [torch.zeros_like(like), torch.zeros_like(like)]
        return [state["exp_avg"], state["exp_avg_sq"].sqrt()]

    def kept(self, moments: Sequence[torch.Tensor], updates: int) -> dict[str, Any]:
        """Return both moments and the number of updates."""
        first, root = moments
        return {"step": torch.tensor(float(updates)), "exp_avg": first, "exp_avg_sq": root * root}

    def factors(self, rates: Array, before: Array) -> list[Array]:
        """Return the shrinkage of the weights, and for each update its scale, correction and decay of moments."""
        (beta1, beta2), times = self.betas, rates.shape[1]
        shrink = 1 - self.decay * rates if self.decoupled else np.ones_like(rates)
        numbers = np.arange(1, times + 1)
        counts = before[:, None] + numbers
        # Later updates shrink the addition of an update.
        later = np.cumprod(shrink[:, :0:-1], axis=1)[:, ::-1]
        after = np.concatenate((later, np.ones((len(shrink), 1))), axis=1)
        scale, unbias = rates * after / (1 - powers(beta1, counts)), 1 / np.sqrt(1 - powers(beta2, counts))
        planes = (scale.T, unbias.T, *(powers(beta, numbers[:, None]) for beta in self.betas))
        return [shrink.prod(axis=1)[:, None], *(plane[:, :, None] for plane in planes)]

    def update(
        self,
        weights: torch.Tensor,
        moments: Sequence[torch.Tensor],
        gradient: torch.Tensor,
        factors: Sequence[torch.Tensor],
        times: int,
    ) -> tuple[torch.Tensor, ...]:
        """Sum the steps of the updates, each with its own moments."""
        first, root = moments
        shrink, *planes = factors
        if self.decay and not self.decoupled:
            gradient = gradient + self.decay * weights
        square = gradient * gradient
        second = torch.maximum(root * root, least_second_moment(first, *self.betas))
        new = weights * shrink
        for lo in range(0, times, _TOGETHER):
            scale, unbias, power1, power2 = (plane[lo : lo + _TOGETHER] for plane in planes)
            # m and v after each of these updates.
            firsts = power1 * first + (1 - power1) * gradient
            roots = (power2 * second + (1 - power2) * square).sqrt()
            moves = firsts / (roots * unbias + self.eps)
            new = new - (moves * scale).sum(dim=0)
        return new, firsts[-1], roots[-1]


# Settings of PyTorch's optimizers that change what a step does, with the only value that is known here.
_PLAIN = {"dampening": 0, "maximize": False, "amsgrad": False, "differentiable": False}


def read_optimizer(optimizer: torch.optim.Optimizer, scheduled: bool = False) -> Rule:
    """Return the rule of an optimizer of PyTorch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer, with one group of parameters.
    scheduled : bool
        Whether the user gives the factors of a scheduler's initial rate.

    Raises
    ------
    TypeError
        If it is another than SGD, Adam and AdamW.
    ValueError
        If a setting is not known; the message names it.
    """
    kind = type(optimizer)
    if kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise TypeError(
            f"optimizer={kind.__name__} is not known: give one of torch.optim.SGD, Adam and AdamW, or write the step "
            "yourself with daskmgrit.from_function"
        )
    if len(optimizer.param_groups) != 1:
        raise ValueError(
            f"optimizer has {len(optimizer.param_groups)} groups of parameters: give one with a single group, because "
            "all weights have the same settings"
        )
    group = optimizer.param_groups[0]
    for name, value in _PLAIN.items():
        if group.get(name, value) != value:
            raise ValueError(f"optimizer has {name}={group[name]!r}: only {name}={value!r} is known")
    if "initial_lr" in group and not scheduled:
        raise ValueError(
            f"optimizer has a scheduler of its rate (lr={float(group['lr']):g}, "
            f"initial_lr={float(group['initial_lr']):g}), which a step cannot ask: give schedule=, the factor of "
            "initial_lr at each fine step, as a function or a sequence"
        )
    rate, decay = float(group.get("initial_lr", group["lr"])), float(group["weight_decay"])
    if kind is torch.optim.SGD:
        return Sgd(rate, float(group["momentum"]), bool(group["nesterov"]), decay)
    beta1, beta2 = group["betas"]
    decoupled = kind is torch.optim.AdamW or bool(group.get("decoupled_weight_decay", False))
    return Adam(rate, (float(beta1), float(beta2)), float(group["eps"]), decay, decoupled)
